"""What Pacemaker, and a bad day, may ask of the resource agent: one table, played on a node or on fakes.

On a node: python3 tests/lab/node/conformance.py NAME STORAGE FOLDER SHELL [ARGUMENT …], as root, for a VM
that is Disabled: the agent is called as Pacemaker would, under the given shell. On fakes it is played by
tests/unit/test_conformance.py. Prints a line for each case; the exit status is how many are not well.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

AGENT = Path("/usr/lib/ocf/resource.d/vm-mgr/VirtualDomain")
OTHER_UUID = "5afe5afe-0000-4000-8000-00005afe0001"
ACTIONS = {"start", "stop", "monitor", "migrate_to", "migrate_from", "meta-data", "validate-all"}
TIMEOUT_MS = "30000"


class Act(NamedTuple):
    """Call the agent: what it ends with, and what it has to say on stderr."""

    action: str
    code: int
    says: str = ""
    params: tuple[str, ...] = ()


class Do(NamedTuple):
    """Change something around the VM, or look at it: a method of the machine."""

    verb: str


def deep(level, code=0, says=""):
    return Act("monitor", code, says, (f"OCF_CHECK_LEVEL={level}",))


MONITOR, START, STOP = Act("monitor", 0), Act("start", 0), Act("stop", 0)
PROBE, RECURRING = "CRM_meta_interval=0", "CRM_meta_interval=10000"
GONE = Act("monitor", 7)
BAD = ("migrateport=ssh",)
UNPLUG = Act("stop", 0, "", ("force_stop=1",))
SCRIPT = ("monitor_scripts={folder}/script",)

CASES = {
    "meta-data": (Do("meta_data_is_valid"),),
    "unknown action": (Act("promote", 3), Act("", 3)),
    "validate-all": (
        Act("validate-all", 0),
        Act("validate-all", 6, "migrateport", BAD),
        Act("validate-all", 6, "not the name", ("domain=a b",)),
        Act("validate-all", 6, "migration_transport", ("migration_transport=pigeon",)),
        Act("validate-all", 6, "migration_strategy", ("migration_strategy=fast",)),
        Act("validate-all", 6, "migration_timeout_action", ("migration_timeout_action=wait",)),
        Act("validate-all", 6, "migration_max_pause", ("migration_max_pause=short",)),
        Act("validate-all", 5, "monitor script", ("monitor_scripts=/nowhere/script",)),
        Do("script_is_no_program"),
        Act("validate-all", 5, "monitor script", SCRIPT),
        Act("start", 5, "monitor script", SCRIPT),
        Do("is_gone"),
    ),
    "monitor and stop before start": (GONE, GONE._replace(params=(PROBE,)), deep(10, 7), STOP, GONE),
    "double start": (START, MONITOR, Do("note"), START, Do("is_noted"), MONITOR),
    "double stop": (START, UNPLUG, Do("is_gone"), STOP, GONE),
    "start with bad parameters": (Act("start", 6, "migrateport", BAD), Do("is_gone"), GONE),
    "bad parameters of a VM that runs": (
        START,
        Act("monitor", 0, "", (*BAD, "io_error_timeout=soon", "check_misses=many")),
        deep(10)._replace(params=("OCF_CHECK_LEVEL=10", *BAD)),
        Act("stop", 0, "", (*BAD, "force_stop=1")),
        Do("is_gone"),
    ),
    "probe with an unreadable definition": (
        Do("definition_is_lost"),
        GONE._replace(params=(PROBE,)),
        Act("start", 1, "start: "),
        Do("is_gone"),
        STOP,
        Do("definition_is_back"),
        START,
        Do("definition_is_lost"),
        Act("monitor", 0, "", (PROBE,)),
        MONITOR,
        START,
        UNPLUG,
        Do("is_gone"),
    ),
    "libvirt is down": (
        START,
        Do("libvirt_ends"),
        MONITOR,
        deep(10, 0, "nothing is known"),
        deep(30, 0, "nothing is known"),
        deep(10),
        deep(10),
        Do("is_alive"),
        STOP,
        Do("is_gone"),
        GONE,
        STOP,
    ),
    "libvirt hangs": (
        START,
        Do("libvirt_hangs"),
        MONITOR,
        deep(10, 0, "nothing is known"),
        deep(10, 0, "nothing is known"),
        deep(10, 0, "nothing is known"),
        Do("is_alive"),
        STOP,
        Do("is_gone"),
        GONE,
    ),
    "QEMU is half dead": (
        START,
        deep(10),
        deep(20),
        Do("qemu_halts"),
        MONITOR,
        deep(20, 0, "miss 1 of 3"),
        deep(20, 0, "miss 2 of 3"),
        deep(20, 1, "ocf-exit-reason:check counters"),
        deep(10, 0, "miss 1 of 3"),
        deep(10, 0, "miss 2 of 3"),
        deep(10, 1, "ocf-exit-reason:check qmp"),
        UNPLUG,
        Do("is_gone"),
        START,
        deep(10),
        deep(20),
    ),
    "QEMU was killed": (
        START,
        Do("qemu_dies"),
        GONE,
        *(deep(level)._replace(params=(f"OCF_CHECK_LEVEL={level}", RECURRING)) for level in (10, 20, 30)),
        deep(10, 7)._replace(params=("OCF_CHECK_LEVEL=10", PROBE)),
        GONE._replace(params=(RECURRING,)),
        GONE._replace(params=(PROBE,)),
        STOP,
        STOP,
    ),
    "a pause is no failure": (
        START,
        deep(20),
        Do("pause"),
        MONITOR,
        *(deep(level) for level in (10, 20, 20, 20, 20, 20, 30)),
        UNPLUG,
    ),
    "PID file is lost": (START, Do("pid_file_is_lost"), MONITOR, Do("memory_is_lost"), MONITOR, MONITOR),
    "a probe only looks": (
        START,
        Do("memory_is_lost"),
        Act("monitor", 0, "", (PROBE,)),
        Act("status", 0),
        Do("nothing_is_remembered"),
        MONITOR,
        Do("process_is_remembered"),
        UNPLUG,
    ),
    "another process with the same words": (
        Do("impostor_begins"),
        GONE,
        STOP,
        START,
        MONITOR,
        UNPLUG,
        Do("is_gone"),
        GONE,
        Do("impostor_lives"),
    ),
    "another VM of the same name": (
        START,
        Do("is_replaced_by_a_namesake"),
        Act("monitor", 7, "another VM"),
        STOP,
        Do("namesake_lives"),
        Act("start", 1, "another VM"),
        Act("monitor", 7, "another VM", (PROBE,)),
        STOP,
        Do("namesake_lives"),
    ),
    "monitor_scripts": (
        Do("script_succeeds"),
        Act("start", 0, "", SCRIPT),
        Act("monitor", 0, "", SCRIPT),
        Do("script_fails"),
        Act("monitor", 1, "out of order", SCRIPT),
        Act("monitor", 0, "", (*SCRIPT, PROBE)),
        deep(10)._replace(params=("OCF_CHECK_LEVEL=10", *SCRIPT)),
        Act("stop", 0, "", (*SCRIPT, "force_stop=1")),
        Act("start", 1, "out of order", (*SCRIPT, "CRM_meta_timeout=9000")),
    ),
}
# What takes long because somebody is waited for.
SLOW = ("libvirt is down", "libvirt hangs", "QEMU is half dead", "monitor_scripts")


class Machine:
    """The VM on this node, the agent under a shell, and what can happen around them."""

    agent = AGENT
    proc = Path("/proc")
    run = Path("/run/libvirt/qemu")
    state = Path("/run/vm-mgr")

    def __init__(self, name, storage, folder, shell):
        self.name = name
        self.storage = storage
        self.folder = Path(folder)
        self.shell = shell
        self.impostor = None
        self.noted = 0
        self.lost = ""

    # How the agent is called.

    def environment(self):
        return {"PATH": os.environ["PATH"], "OCF_ROOT": "/usr/lib/ocf", "OCF_RESKEY_storage": self.storage}

    def call(self, action, params=()):
        given = dict(one.format(folder=self.folder).split("=", 1) for one in params)
        given = {
            f"OCF_RESKEY_{key}".replace("OCF_RESKEY_OCF_CHECK", "OCF_CHECK"): given[key] for key in given
        }
        timeout = {"OCF_RESKEY_CRM_meta_timeout": TIMEOUT_MS, "OCF_RESOURCE_INSTANCE": self.name}
        words = [*self.shell, str(self.agent), *([action] if action else [])]
        environment = {**self.environment(), **timeout, **given}
        limit_s = int(environment["OCF_RESKEY_CRM_meta_timeout"]) / 1000
        return subprocess.run(
            words, env=environment, capture_output=True, text=True, check=False, timeout=limit_s
        )

    # What happens around it.

    def libvirt_ends(self):
        self.units("stop")

    def libvirt_hangs(self):
        self.signal_libvirt("STOP")

    def libvirt_is_well(self):
        self.signal_libvirt("CONT")
        self.units("start")
        wait(lambda: self.virsh("list", check=False).returncode == 0, "libvirt to answer")

    def qemu_halts(self):
        os.kill(self.pid(), signal.SIGSTOP)

    def qemu_dies(self):
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        wait(lambda: pid not in self.pids(), "QEMU to be gone")

    def pause(self):
        self.virsh("suspend", self.name)

    def pid_file_is_lost(self):
        (self.run / f"{self.name}.pid").unlink()

    def memory_is_lost(self):
        (self.state / f"running..{self.name}").unlink()

    def nothing_is_remembered(self):
        assert not (self.state / f"running..{self.name}").exists(), "a probe has written"

    def process_is_remembered(self):
        assert (self.state / f"running..{self.name}").exists()

    def impostor_begins(self):
        """Begin a process that has QEMU's words, and is none."""
        words = ("-name", f"guest={self.name},debug-threads=on", "-uuid", OTHER_UUID)
        self.impostor = subprocess.Popen(["sh", "-c", "while :; do sleep 1; done", *words])

    def impostor_lives(self):
        assert self.impostor.poll() is None, "the impostor was ended"

    def is_replaced_by_a_namesake(self):
        """Put another machine, without disks, under our name."""
        self.virsh("destroy", self.name)
        wait(lambda: not self.pids(), "the VM to be gone")
        file = self.folder / "namesake.xml"
        file.write_text(
            f"""<domain type="qemu"><name>{self.name}</name><uuid>{OTHER_UUID}</uuid>
<memory unit="MiB">32</memory><os><type arch="x86_64">hvm</type></os>
<devices><memballoon model="none"/></devices></domain>"""
        )
        self.virsh("create", str(file))
        self.noted = self.pid()

    def namesake_lives(self):
        assert self.pids() == [self.noted], f"{self.pids()} instead of {self.noted}"

    def script_succeeds(self):
        self.write_script("exit 0")

    def script_fails(self):
        self.write_script("echo out of order >&2; exit 3")

    def script_is_no_program(self):
        self.write_script("exit 0")
        (self.folder / "script").chmod(0o644)

    def write_script(self, line):
        script = self.folder / "script"
        script.write_text(f"#!/bin/sh\n{line}\n")
        script.chmod(0o755)

    def definition_is_lost(self):
        if self.storage == "ceph":
            self.lost = command("rbd", "image-meta", "get", f"rbd/system_{self.name}", "xml")
            command("rbd", "image-meta", "remove", f"rbd/system_{self.name}", "xml")
        else:
            shutil.move(self.definition_file(), self.folder / "domain.xml")

    def definition_is_back(self):
        if self.storage == "ceph" and self.lost:
            command("rbd", "image-meta", "set", f"rbd/system_{self.name}", "xml", self.lost)
            self.lost = ""
        elif (self.folder / "domain.xml").exists():
            shutil.move(self.folder / "domain.xml", self.definition_file())

    def definition_file(self):
        return Path("/srv/vms", self.name, "domain.xml")

    # What is there.

    def note(self):
        self.noted = self.pid()

    def is_noted(self):
        assert self.pids() == [self.noted], f"{self.pids()} instead of {self.noted}"

    def is_alive(self):
        assert self.pids(), "the VM does not run"

    def is_gone(self):
        assert not self.pids(), f"the VM still runs: {self.pids()}"

    def meta_data_is_valid(self):
        done = self.call("meta-data")
        assert done.returncode == 0
        assert rules_broken(done.stdout) == []
        self.validate_by_dtd(done.stdout)

    def validate_by_dtd(self, text):
        dtd = "/usr/share/resource-agents/ra-api-1.dtd"
        words = ["xmllint", "--nonet", "--noout", "--dtdvalid", dtd, "-"]
        done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def pids(self):
        """Find the QEMUs of our name by other means than the agent's."""
        wanted = b"\0guest=" + self.name.encode() + b","
        found = []
        for entry in self.proc.iterdir():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes()
                if entry.name.isdigit() and wanted in line and "qemu" in (entry / "comm").read_text():
                    found.append(int(entry.name))
        return found

    def pid(self):
        (pid,) = self.pids()
        return pid

    # The node.

    def virsh(self, *words, check=True):
        return subprocess.run(
            ["virsh", "--connect", "qemu:///system", "--quiet", *words],
            capture_output=True, text=True, check=check, timeout=20,
        )  # fmt: skip

    def daemon(self):
        found = [unit for unit in ("virtqemud", "libvirtd") if is_enabled(unit)]
        return found[0] if found else "libvirtd"

    def units(self, verb):
        daemon = self.daemon()
        sockets = [f"{daemon}{kind}.socket" for kind in ("", "-ro", "-admin")]
        command("systemctl", verb, *sockets, f"{daemon}.service")

    def signal_libvirt(self, name):
        command(
            "systemctl",
            "kill",
            "--kill-whom=main",
            f"--signal={name}",
            f"{self.daemon()}.service",
            check=False,
        )

    def heal(self):
        """End all that a case has begun."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.libvirt_is_well()
        self.definition_is_back()
        if self.pids():
            self.virsh("destroy", self.name, check=False)
        wait(lambda: not self.pids(), "the VM to be gone")
        self.call("stop")
        if self.impostor is not None:
            self.impostor.kill()
            self.impostor.wait()
            self.impostor = None


def play(machine, case):
    """Play a case; raises AssertionError that names the step."""
    try:
        for number, step in enumerate(CASES[case], 1):
            where = f"{case}, step {number}: {step}"
            if isinstance(step, Do):
                try:
                    getattr(machine, step.verb)()
                except AssertionError as error:
                    raise AssertionError(f"{where}: {error}") from error
                continue
            done = machine.call(step.action, step.params)
            told = f"{where}: {done.returncode}\n{done.stdout[-500:]}\n{done.stderr}"
            assert done.returncode == step.code, told
            assert step.says in done.stderr, told
            assert "Traceback" not in done.stderr, told
    finally:
        machine.heal()


def rules_broken(text):
    """Compare meta-data with the OCF Resource Agent API 1.1; gives what is wrong."""
    root = ET.fromstring(text)  # noqa: S314 - it is our own agent's
    broken = [] if root.tag == "resource-agent" and root.get("name") else ["no resource-agent with a name"]
    order = ["version", "longdesc", "shortdesc", "parameters", "actions"]
    broken += (
        [] if [child.tag for child in root] == order else ["other elements than the API's, or out of order"]
    )
    for parameter in root.iterfind("parameters/parameter"):
        name = parameter.get("name")
        if [child.tag for child in parameter] != ["longdesc", "shortdesc", "content"]:
            broken.append(f"parameter {name} lacks an element")
        elif parameter.find("content").get("type") not in ("string", "integer", "boolean"):
            broken.append(f"parameter {name} has no type of the API's")
        if parameter.get("required") != "1" and parameter.find("content").get("default") is None:
            broken.append(f"parameter {name} is optional and has no default")
    actions = [action.get("name") for action in root.iterfind("actions/action")]
    broken += [f"no action {name}" for name in sorted(ACTIONS - set(actions))]
    broken += [
        f"action {one.get('name')} has no timeout" for one in root.iter("action") if not one.get("timeout")
    ]
    monitors = [
        (one.get("depth"), one.get("interval")) for one in root.iter("action") if one.get("name") == "monitor"
    ]
    if any(len({one[side] for one in monitors}) < len(monitors) for side in (0, 1)):
        broken.append("two monitors of one depth or one interval")
    return broken


def wait(probe, what):
    deadline = time.monotonic() + 30
    while not probe():
        assert time.monotonic() < deadline, f"gave up waiting for {what}"
        time.sleep(0.1)


def command(*words, check=True):
    return subprocess.run(words, capture_output=True, text=True, check=check, timeout=60).stdout.strip()


def is_enabled(unit):
    return (
        subprocess.run(["systemctl", "is-enabled", "--quiet", f"{unit}.service"], check=False).returncode == 0
    )


def main(turn, name, storage, folder, *shell):
    """Play the cases whose turn it is, as first:step; give how many were not well."""
    bad = 0
    first, step = map(int, turn.split(":"))
    for case in list(CASES)[first::step]:
        began = time.monotonic()
        try:
            play(Machine(name, storage, folder, shell), case)
            print(f"ok      {case} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception:  # noqa: BLE001 - the next case is played whatever this one has met
            bad += 1
            print(f"NOT OK  {case}\n{traceback.format_exc()}", flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(min(main(*sys.argv[1:]), 100))

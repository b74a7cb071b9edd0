"""What the agents say: to Pacemaker as much as it keeps, to the journal all, but not again and again."""

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from vm_mgr.adapters.libvirt.virsh import check
from vm_mgr.adapters.pacemaker.crm_mon import parse_crm_mon
from vm_mgr.agent import identity
from vm_mgr.agent.agent_log import KEPT_BYTES, cut, exit_reason, log_throttled, reset_throttle, say
from vm_mgr.alert.message import read_line
from vm_mgr.errors import VmMgrError
from vm_mgr.model.event import EventKind
from vm_mgr.ocf import __main__ as agent
from vm_mgr.ports.runner import Completed

from .test_cib_moves import HELD

OCF = Path(__file__).parents[2] / "ocf"
# busybox sh prefers its own logger to the one of the test, which is at the front of PATH.
SHELLS = {"dash": ("dash",), "bash": ("bash",)}
LOGGER = '#!/bin/sh\nfor last; do :; done\necho "$2 $last" >>"{folder}/logged"\n'


def kept(stderr):
    """Give what Pacemaker keeps of an agent's stderr: of the last prefix's line so many bytes."""
    return stderr.encode().rpartition(b"ocf-exit-reason:")[2].partition(b"\n")[0][:KEPT_BYTES].decode()


class TestReason:
    @pytest.mark.parametrize(
        "reason",
        ["no ssh", "é" * 200, "first\nsecond", "a ocf-exit-reason:b", "x\x1by\ud800"],
        ids=["short", "long", "lines", "prefix", "no text"],
    )
    def test_pacemaker_keeps_what_we_have_cut(self, reason, capsys, env):
        exit_reason(env, "web1", reason)
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert kept(said) == cut(reason)
        assert cut(reason).isprintable()

    def test_beginning_is_kept_and_the_hint_goes_first(self, env, capsys):
        reason, hint = (
            "start: " + "the disk is in use " * 5,
            "free it: vm-mgr free web1, and so on, and so on",
        )
        exit_reason(env, "web1", reason, hint)
        assert kept(capsys.readouterr().err) == cut(reason)
        assert env.journal.lines == [f"web1: {reason} ({hint})"]

    def test_short_hint_is_kept(self, env, capsys):
        exit_reason(env, "web1", "no ssh", "see: ssh n2")
        assert kept(capsys.readouterr().err) == "no ssh (see: ssh n2)"

    def test_failed_action_tells_pacemaker_and_the_journal(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv("OCF_RESOURCE_INSTANCE", "web1")
        monkeypatch.setenv("OCF_RESKEY_migrateport", "ssh" * 60)
        monkeypatch.setenv("VM_MGR_JOURNAL", str(tmp_path / "socket"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind(str(tmp_path / "socket"))
            listening.setblocking(False)
            assert agent.main("start") == agent.OCF_ERR_CONFIGURED
            lines = listening.recv(65536).decode().splitlines()
        whole = f"start: the parameter migrateport is not a number: {'ssh' * 60}"
        assert f"MESSAGE=web1: {whole}" in lines
        assert "SYSLOG_IDENTIFIER=vm-mgr-agent" in lines
        assert kept(capsys.readouterr().err) == cut(whole)

    def test_reason_that_pacemaker_has_dropped_is_looked_for_in_the_events(self):
        dropped = HELD.replace('exitreason="migrate_to: no ssh"', 'exitreason=""')
        (failure,) = parse_crm_mon(dropped).resources["web1"].failures
        assert failure.text == "migrate_to on n1: Error occurred (why: vm-mgr events web1)"
        (failure,) = parse_crm_mon(HELD).resources["web1"].failures
        assert failure.text == "migrate_to on n1: no ssh"

    def test_reason_that_was_cut_says_where_the_whole_one_is(self):
        long = HELD.replace('exitreason="migrate_to: no ssh"', f'exitreason="migrate_to: {"x" * 112}..."')
        (failure,) = parse_crm_mon(long).resources["web1"].failures
        assert failure.text.endswith("... (whole: vm-mgr events web1)")

    def test_cause_comes_first_where_not_everything_fits(self):
        said = "internal error: process exited while connecting to monitor: 2026-11-28T17:55:29.388140Z"
        device = '-device {"driver":"virtoi-net-pci","netdev":"hostnet0","id":"net0"}: '
        causes = {
            "cannot set up guest memory 'pc.ram': Cannot allocate memory": "",
            "'virtoi-net-pci' is not a valid device model name": device,
        }
        for cause, option in causes.items():
            stderr = f"error: Failed to create\nerror: {said} qemu-system-x86_64: {option}{cause}"
            with pytest.raises(VmMgrError) as failed:
                check(Completed(("virsh",), 1, "", stderr))
            reason = f"start: {failed.value.message}"
            assert reason.endswith(cause)
            assert cut(f"{reason} {'and more ' * 9}").startswith(f"start: {cause}")


class TestNowAndThen:
    @pytest.fixture
    def node(self, env, tmp_path):
        env.state_dir = tmp_path / "state"
        return env

    def warn(self, node, text, level=10):
        log_throttled(node, "web1", level, text, failed=False)

    def test_line_is_in_the_journal_too(self, node, capsys):
        say(node, "web1 stands")
        assert (node.journal.lines, capsys.readouterr().err) == (["web1 stands"], "vm-mgr: web1 stands\n")

    def test_what_is_found_again_and_again_is_written_every_ten_minutes(self, node, capsys):
        for second in range(0, 1260, 10):
            node.clock.now = second
            self.warn(node, f"nothing is known since {second} s")
        assert len(node.journal.lines) == 3
        assert capsys.readouterr().err.count("WARNING: nothing is known") == 126, "Pacemaker's log has all"

    def test_what_is_new_is_written_at_once(self, node):
        self.warn(node, "no libvirt")
        self.warn(node, "no agent")
        self.warn(node, "no agent", level=30)
        assert node.journal.lines == ["no libvirt", "no agent", "no agent"]

    def test_after_a_good_look_all_is_new(self, node):
        self.warn(node, "no libvirt")
        reset_throttle(node, "web1", 10)
        self.warn(node, "no libvirt")
        assert len(node.journal.lines) == 2

    def test_vm_that_is_gone_leaves_nothing(self, node):
        self.warn(node, "no libvirt")
        identity.forget(node, "web1")
        assert not list(node.state_dir.iterdir())

    def test_state_that_can_not_be_kept_fails_nothing(self, node):
        node.state_dir.write_text("no folder")
        self.warn(node, "no libvirt")
        reset_throttle(node, "web1", 10)
        assert node.journal.lines == ["no libvirt"]

    def test_failure_is_an_event_once_also_after_warnings_of_the_same_words(self, node):
        for miss in range(1, 6):
            log_throttled(node, "web1", 10, f"no answer (miss {miss} of 3)", failed=miss >= 3)
        (event,) = node.journal.handed
        assert (event.kind, event.detail) == (EventKind.FAILED, "monitor: no answer (miss 3 of 3)")
        assert node.journal.lines == ["no answer (miss 1 of 3)", "no answer (miss 3 of 3)"]

    def test_failure_has_pacemakers_prefix(self, node, capsys):
        log_throttled(node, "web1", 10, "dead " * 50, failed=True)
        assert kept(capsys.readouterr().err) == cut("dead " * 50)


@pytest.fixture(params=SHELLS)
def run(tmp_path, request):
    """Give a function that runs an agent under a shell, with a logger that writes a file."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "vms").mkdir()

    def tool(name, text):
        (tmp_path / "bin" / name).write_text(text.format(folder=tmp_path))
        (tmp_path / "bin" / name).chmod(0o755)

    tool("logger", LOGGER)
    os.mkfifo(tmp_path / "alerts")
    reading = os.open(tmp_path / "alerts", os.O_RDWR | os.O_NONBLOCK)
    environment = {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "OCF_RESOURCE_INSTANCE": "web1",
        "VM_MGR_PROC": str(tmp_path / "nothing"),
        "VM_MGR_LIBVIRT_RUN": str(tmp_path / "run"),
        "VM_MGR_STATE": str(tmp_path / "state"),
        "VM_MGR_LIB": str(tmp_path / "lib"),
        "VM_MGR_ALERTS": str(tmp_path / "alerts"),
    }

    def call(action, program="VirtualDomain", **more):
        own = ("OCF_", "VM_")
        given = {key if key.startswith(own) else f"OCF_RESKEY_{key}": value for key, value in more.items()}
        argv = [*SHELLS[request.param], str(OCF / program), action]
        done = subprocess.run(argv, env=environment | given, capture_output=True, text=True, check=False)
        log = tmp_path / "logged"
        call.logged = log.read_text().splitlines() if log.exists() else []
        return done

    def heard():
        return [read_line(line) for line in os.read(reading, 65536).decode().splitlines()]

    call.tool = tool
    call.heard = heard
    call.folder = tmp_path
    yield call
    os.close(reading)


def running(folder):
    """Make a /proc in which web1's QEMU runs."""
    qemu = "qemu\0-name\0guest=web1,x=y\0"
    for pid, comm, line in (("1", "init", ""), ("42", "qemu-system-x86", qemu)):
        (folder / "proc" / pid).mkdir(parents=True)
        (folder / "proc" / pid / "comm").write_text(f"{comm}\n")
        (folder / "proc" / pid / "cmdline").write_text(line)
    return folder / "proc"


UNKNOWN = "whether web1 runs is unknown"


class TestShell:
    def test_reason_is_also_in_the_journal(self, run):
        done = run("monitor")
        assert done.returncode == 1
        assert UNKNOWN in kept(done.stderr)
        (line,) = run.logged
        assert line.startswith("vm-mgr-agent web1: ")
        assert line.endswith(UNKNOWN)

    def test_recurring_monitor_writes_the_same_every_ten_minutes(self, run):
        for _ in range(3):
            assert UNKNOWN in run("monitor", CRM_meta_interval="10000").stderr, "Pacemaker hears it each time"
        assert len(run.logged) == 1
        said = run.folder / "state" / "said-0..web1"
        when, words = said.read_text().splitlines()
        said.write_text(f"{int(when) - 601}\n{words}\n")
        run("monitor", CRM_meta_interval="10000")
        assert len(run.logged) == 2

    def test_failure_is_an_event_but_what_a_probe_or_a_person_asks_is_none(self, run):
        run("monitor", CRM_meta_interval="0")
        run("validate-all", migrateport="ssh")
        for _ in range(3):
            run("monitor", CRM_meta_interval="10000")
        run("start", migrateport="s\nh")
        monitor, start = run.heard()
        assert (monitor.kind, monitor.subject, monitor.node) == (EventKind.FAILED, "web1", "")
        assert monitor.detail.startswith("monitor: can't read")
        assert monitor.detail.endswith(UNKNOWN)
        assert start.detail == "start: the parameter migrateport is not a number: s h"
        assert 0 <= start.when_utc - monitor.when_utc < 5

    def test_events_that_nobody_takes_hold_up_nothing(self, run):
        assert run("monitor", VM_MGR_ALERTS="/nowhere").returncode == 1
        os.mkfifo(run.folder / "unread")
        done = run("monitor", CRM_meta_interval="10000", VM_MGR_ALERTS=str(run.folder / "unread"))
        assert (done.returncode, UNKNOWN in kept(done.stderr)) == (1, True)

    def test_after_a_good_monitor_all_is_new(self, run):
        run("monitor", CRM_meta_interval="10000")
        proc = running(run.folder)
        assert run("monitor", CRM_meta_interval="10000", VM_MGR_PROC=str(proc)).returncode == 0
        assert not (run.folder / "state" / "said-0..web1").exists()
        run("monitor", CRM_meta_interval="10000")
        assert len(run.logged) == 2

    def test_monitor_that_has_nothing_to_say_starts_no_program(self, run):
        """Without a PATH every program would be missed on stderr."""
        proc = run.folder / "proc"
        (proc / "1").mkdir(parents=True)
        (proc / "1" / "comm").write_text("init\n")
        shell = "/bin/sh" if not Path("/usr/bin/dash").exists() else "/usr/bin/dash"
        environment = {"PATH": "/nonexistent", "OCF_RESOURCE_INSTANCE": "web1", "VM_MGR_PROC": str(proc)}
        environment |= {"VM_MGR_STATE": str(run.folder), "VM_MGR_LIBVIRT_RUN": str(run.folder)}
        argv = [shell, str(OCF / "VirtualDomain"), "monitor"]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (7, "")

    def test_without_logger_the_operation_goes_on(self, run):
        run.tool("logger", "#!/bin/sh\nexit 1\n")
        assert run("monitor").returncode == 1
        run.tool("logger", "#!/bin/sh\nexec sleep 60\n")
        assert run("monitor").returncode == 1

    def test_long_foreign_words_are_cut_to_what_pacemaker_keeps(self, run):
        done = run("validate-all", migrateport="ö" * 100)
        assert done.returncode == 6
        reason = done.stderr.removeprefix("ocf-exit-reason:").rstrip("\n")
        assert reason.isascii()
        assert len(reason) == KEPT_BYTES
        assert run.logged[0].endswith("ö" * 100)

    def test_check_that_can_not_be_made_is_in_the_journal(self, run):
        run.tool("python3", "#!/bin/sh\nexit 1\n")
        proc = running(run.folder)
        for _ in range(2):
            done = run("monitor", CRM_meta_interval="10000", OCF_CHECK_LEVEL="10", VM_MGR_PROC=str(proc))
            assert (done.returncode, "nothing is known" in done.stderr) == (0, True)
        assert len(run.logged) == 1

    def test_programs_that_are_waited_for_flood_nothing(self, run):
        run.tool("python3", "#!/bin/sh\nexit 0\n")
        run.tool("look", "#!/bin/sh\necho out of order\nexit 3\n")
        proc = running(run.folder)
        given = {"monitor_scripts": "look", "CRM_meta_timeout": "6000"}
        done = run("start", VM_MGR_PROC=str(proc), **given)
        assert done.returncode == 1
        assert kept(done.stderr).endswith("out of order")
        assert len(run.logged) == 1

    @pytest.mark.parametrize("name", ["check", "absent", "fail"])
    def test_program_with_the_name_of_a_function_is_run_itself(self, run, name):
        proc = running(run.folder)
        given = {"monitor_scripts": name, "CRM_meta_interval": "10000", "VM_MGR_PROC": str(proc)}
        assert run("validate-all", **given).returncode == 5
        assert "can't be run" in kept(run("monitor", **given).stderr)
        run.tool(name, "#!/bin/sh\nexit 0\n")
        assert run("validate-all", **given).returncode == 0
        assert run("monitor", **given).returncode == 0

    def test_start_does_not_wait_for_a_program_that_can_not_be_run_and_says_why(self, run):
        """A program whose interpreter is missing is only found out by running it; the VM runs by then."""
        run.tool("python3", "#!/bin/sh\nexit 0\n")
        run.tool("a-program-with-a-rather-long-name", "#!/nowhere/interpreter\n")
        script = f"{run.folder}/bin/a-program-with-a-rather-long-name"
        given = {"monitor_scripts": script, "VM_MGR_PROC": str(running(run.folder))}
        began = time.monotonic()
        done = run("start", CRM_meta_timeout="60000", **given)
        assert time.monotonic() - began < 20
        (event,) = run.heard()
        assert (done.returncode, event.detail.endswith(script)) == (1, True)
        assert "a monitor script can't be run (" in kept(done.stderr)
        assert run("monitor", CRM_meta_interval="10000", **given).returncode == 1, "it may not mean stopped"

    def test_vm_that_ends_while_its_programs_are_waited_for_fails_at_once(self, run):
        run.tool("python3", "#!/bin/sh\nexit 0\n")
        run.tool("look", "#!/bin/sh\nrm -r {folder}/proc/42\nexit 3\n")
        proc = running(run.folder)
        done = run("start", VM_MGR_PROC=str(proc), monitor_scripts="look", CRM_meta_timeout="60000")
        assert (done.returncode, "has ended" in kept(done.stderr)) == (1, True)

    def test_other_agents_tell_too(self, run):
        run.tool("systemctl", "#!/bin/sh\nexit 1\n")
        done = run("start", "DiskLocks")
        assert (done.returncode, "virtlockd.service does not start" in kept(done.stderr)) == (1, True)
        assert run("validate-all", "Node", dampening="long").returncode == 6
        assert [line.split()[:2] for line in run.logged] == [
            ["vm-mgr-agent", "vm-mgr-disk-locks:"],
            ["vm-mgr-agent", "vm-mgr-node:"],
        ]

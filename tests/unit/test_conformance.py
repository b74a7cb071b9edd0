"""The agent's conformance table on fakes: a real shell, the real slow paths, real processes, a fake virsh.

tests/lab/test_agent_conformance.py plays the same table on a node, with real libvirt.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.node import conformance
from vm_mgr.adapters.host.clock import SystemClock
from vm_mgr.adapters.host.runner import HostRunner
from vm_mgr.adapters.shared_dir.folders import VmFolders
from vm_mgr.adapters.shared_dir.mount import Mount
from vm_mgr.adapters.shared_dir.port import SharedDirectory
from vm_mgr.model.vm import VmSettings

from .test_pacemaker import RECORDED

ROOT = Path(__file__).parents[2]
SHELLS = {"dash": ("dash",), "busybox sh": ("busybox", "sh"), "bash": ("bash",)}
NAME = "conf1"
UUID = "c0f1c0f1-0000-4000-8000-00000000c0f1"
DOMAIN = f"""<domain type='qemu'><name>{NAME}</name><uuid>{UUID}</uuid><memory>1</memory>
<os><type>hvm</type></os><devices/></domain>"""

# Stands for a guest: nothing but a process that has QEMU's name and words, and ends when it is asked to.
QEMU = """#!{python}
import signal
signal.pause()
"""

VIRSH = """#!/bin/sh
shift 3
[ ! -e {box}/hangs ] || exec sleep 600
[ ! -e {box}/down ] || {{ echo "error: failed to connect to the hypervisor" >&2; exit 1; }}
verb=$1 name=$2
pid=$(cat {box}/virsh.pid 2>/dev/null)
[ -e "/proc/$pid/exe" ] || pid=
state() {{ echo "<domstatus state='$1' reason='$2' pid='$pid'>" >{box}/run/{name}.xml; }}
end() {{
	kill -$1 $pid
	while [ -e /proc/$pid/exe ]; do sleep 0.02; done
	rm -f {box}/run/{name}.pid {box}/run/{name}.xml {box}/asked
}}
case $verb in
list) [ -z "$pid" ] || echo {name} ;;
create)
	[ -z "$pid" ] || {{ echo "error: domain '{name}' already exists" >&2; exit 1; }}
	uuid=$(sed -n 's,.*<uuid>\\(.*\\)</uuid>.*,\\1,p' "$2")
	{box}/qemu-system-fake -name guest={name},debug-threads=on -S -uuid $uuid </dev/null >/dev/null 2>&1 &
	pid=$!
	until grep -q qemu-system /proc/$pid/comm; do sleep 0.01; done
	ln -s /proc/$pid {box}/proc/$pid
	echo $pid >{box}/run/{name}.pid
	echo $pid >{box}/virsh.pid
	echo $pid >>{box}/born
	state running booted
	;;
shutdown) end TERM ;;
destroy) end KILL ;;
suspend) state paused user ;;
domstate) sed -n "s/.*state='\\([a-z]*\\)'.*/\\1/p" {box}/run/{name}.xml ;;
domcontrol) [ -e {box}/asked ] && echo "occupied ($(($(date +%s) - $(cat {box}/asked))).500s)" || echo ok ;;
qemu-monitor-command)
	grep -q '^State:.T' /proc/$pid/status && {{ date +%s >{box}/asked; exec sleep 600; }}
	echo '{{"return": {{"status": "running"}}, "id": "libvirt-9"}}'
	;;
*) exit 1 ;;
esac
"""

CRM_MON = """#!/bin/sh
cat {recording}
"""


LOGGER = """#!/bin/sh
echo "$*" >>{box}/logged
"""

PYTHON = """#!/bin/sh
PYTHONPATH={box}/lib:$PYTHONPATH exec {python} "$@"
"""

# What a start asks of libvirt's binding: the fake virsh does it.
BINDING = """
import pathlib, subprocess, time
VIR_ERR_OPERATION_INVALID, VIR_ERR_HOOK_SCRIPT_FAILED = 55, 70
BOX = pathlib.Path("{box}")
class libvirtError(Exception):
    def get_error_code(self):
        return 1
class Host:
    def isAlive(self):
        return True
    def close(self):
        return 0
    def createXML(self, xml, flags):
        if (BOX / "hangs").exists():
            time.sleep(600)
        (BOX / "created.xml").write_text(xml)
        argv = [BOX / "bin" / "virsh", "--connect", "x", "--quiet", "create", BOX / "created.xml"]
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            raise libvirtError(done.stderr)
def registerErrorHandler(*_):
    pass
def open(uri):
    if (BOX / "down").exists():
        raise libvirtError("Failed to connect socket")
    return Host()
"""


class Fakes(conformance.Machine):
    """A node of files, on which only processes are real."""

    agent = ROOT / "ocf" / "VirtualDomain"

    def __init__(self, box, shell):
        super().__init__(NAME, "vms", box, shell)
        self.box = box
        self.proc, self.run, self.state = box / "proc", box / "run", box / "state"
        for folder in (self.proc, self.run, box / "vms", box / "bin", box / "lib"):
            folder.mkdir()
        (self.proc / "1").symlink_to("/proc/1")
        values = {"box": box, "name": NAME, "python": sys.executable, "recording": RECORDED[0]}
        programs = {
            "bin/virsh": VIRSH,
            "bin/crm_mon": CRM_MON,
            "bin/logger": LOGGER,
            "bin/python3": PYTHON,
            "lib/libvirt.py": BINDING,
            "qemu-system-fake": QEMU,
        }
        for path, text in programs.items():
            (box / path).write_text(text.format(**values))
            (box / path).chmod(0o755)
        (box / "vm-mgr.toml").write_text(f'[shared_dir.vms]\npath = "{box}/vms"\n')
        mount = Mount(box / "vms")
        mount.initialise()
        with SharedDirectory(VmFolders(mount, HostRunner(), SystemClock())).stage(NAME) as staged:
            staged.add(1 << 20)
            staged.describe(xml=DOMAIN, base_xml=DOMAIN, settings=VmSettings(), notes={})
            staged.commit()

    def environment(self):
        return {
            "PATH": f"{self.box}/bin:{os.environ['PATH']}",
            "VM_MGR_LIB": str(ROOT / "src"),
            "VM_MGR_CONFIG": str(self.box / "vm-mgr.toml"),
            "VM_MGR_PROC": str(self.proc),
            "VM_MGR_LIBVIRT_RUN": str(self.run),
            "VM_MGR_STATE": str(self.state),
            "VM_MGR_JOURNAL": str(self.box / "journal"),
            "VM_MGR_LOOKS": "3",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def virsh(self, *words, check=True):
        words = [str(self.box / "bin" / "virsh"), "--connect", "x", "--quiet", *words]
        return subprocess.run(words, capture_output=True, text=True, check=check, timeout=20)

    def libvirt_ends(self):
        (self.box / "down").touch()

    def libvirt_hangs(self):
        (self.box / "hangs").touch()

    def libvirt_is_well(self):
        for flag in ("down", "hangs"):
            (self.box / flag).unlink(missing_ok=True)

    def definition_file(self):
        return self.box / "vms" / NAME / "domain.xml"

    def validate_by_dtd(self, text):
        """Leave it to the lab: the DTD comes with the resource agents."""

    def impostor_begins(self):
        super().impostor_begins()
        (self.proc / str(self.impostor.pid)).symlink_to(f"/proc/{self.impostor.pid}")
        (self.run / f"{NAME}.pid").write_text(f"{self.impostor.pid}\n")
        (self.run / "stale").touch()

    def heal(self):
        if (self.run / "stale").exists():
            (self.run / f"{NAME}.pid").unlink(missing_ok=True)
            (self.run / "stale").unlink()
        super().heal()

    def end(self):
        """End every process that was begun."""
        born = self.box / "born"
        for line in born.read_text().split() if born.exists() else ():
            with contextlib.suppress(OSError):
                if "qemu-system-fak" in Path("/proc", line, "comm").read_text():
                    os.kill(int(line), signal.SIGKILL)


# Where somebody is waited for, one shell has to do: what is waited for is the same behind each.
TABLE = [
    (case, shell)
    for case in conformance.CASES
    for shell in SHELLS
    if shell == "dash" or case not in conformance.SLOW or (shell != "bash" and case != "libvirt hangs")
]


@pytest.mark.parametrize(("case", "shell"), TABLE)
def test_agent_does_as_the_table_says(tmp_path, shell, case):
    fakes = Fakes(tmp_path, SHELLS[shell])
    try:
        conformance.play(fakes, case)
    finally:
        fakes.end()

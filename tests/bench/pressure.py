"""Whether healthy VMs are failed, restarted or fenced while their node is driven to its limits."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from lxml import etree

from tests.bench import subjects
from tests.bench.measure import Measure, Result, Row
from tests.bench.subjects import TinyVms
from vm_mgr_lab import up as bring
from vm_mgr_lab.history import bmc_events
from vm_mgr_lab.lab import Lab

__all__ = ["MEASURES"]

NODE, WITNESS = "n2", "n1"
VMS = 20
MINUTES = 10
LOOK_S = 10
# What the node may use beyond what it uses before: with what is written to its disk the stress wants more.
ROOM_MIB = 1024
GROUP = Path("/sys/fs/cgroup/memory/vm-mgr-lab-pressure")
STRESS = (
    f"stress-ng --cpu 4 --vm 3 --vm-bytes {ROOM_MIB * 9 // 10}M --hdd 1 --hdd-bytes 128M --temp-path /tmp "
    f"--timeout {MINUTES * 60}s --metrics-brief"
)


def measure_pressure() -> Result:
    """Stress a node with 20 small VMs for ten minutes: processors, memory to a limit, and its disk."""
    lab = subjects.lab()
    with TinyVms(lab, VMS, NODE):
        before, began_s = _pids(lab), time.time()
        assert len(before) == VMS, before
        left = 0
        with _memory_limit(lab) as group:
            stress = _start_stress(lab)
            while stress.poll() is None:
                time.sleep(LOOK_S)
                left += _offline(lab)
            print(stress.communicate()[0])
            hits = int((group / "memory.failcnt").read_text())
        assert hits, "the memory was never driven to its limit"
        bring.wait_ready(lab, print)
        after = _pids(lab)
        return {
            "failures": [float(_failures(lab))],
            "restarts": [float(sum(before[name] != after.get(name) for name in before))],
            "fencings": [float(len([e for e in bmc_events(lab, since_s=began_s) if e.kind == "fenced"]))],
            "looks with a node offline": [float(left)],
            "memory limit hit": [float(hits)],
            "minutes": [float(MINUTES)],
        }


def _start_stress(lab: Lab) -> subprocess.Popen[str]:
    limited = ["sh", "-c", f'echo $$ >{GROUP}/cgroup.procs && exec "$@"', "sh"]
    argv = [*limited, *lab.machine(NODE).enter_command(), "sh", "-c", STRESS]
    return subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@contextlib.contextmanager
def _memory_limit(lab: Lab) -> Iterator[Path]:
    """Bound what the node may use from now on, cgroup v1; what its processes have already is not counted."""
    GROUP.mkdir(exist_ok=True)
    try:
        (GROUP / "memory.limit_in_bytes").write_text(str(ROOM_MIB << 20))
        for pid in lab.processes(NODE):
            with contextlib.suppress(ProcessLookupError):
                (GROUP / "cgroup.procs").write_text(str(pid))
        yield GROUP
    finally:
        for pid in (GROUP / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                (GROUP.parent / "cgroup.procs").write_text(pid)
        GROUP.rmdir()


def _pids(lab: Lab) -> dict[str, str]:
    """Give the QEMU of each VM, with the time of its start, as the node has them."""
    line = 'for file in /run/libvirt/qemu/tiny*.pid; do read -r pid <"$file"; echo "${file##*/} $pid"; done'
    found = {}
    for row in lab.execute(NODE, ["sh", "-c", line]).stdout.splitlines():
        name, pid = row.split()
        stat = lab.execute(NODE, ["cat", f"/proc/{pid}/stat"]).stdout
        found[name] = f"{pid} {stat.rpartition(')')[2].split()[19]}"
    return found


def _crm_mon(lab: Lab) -> etree._Element:
    shown = lab.execute(WITNESS, ["crm_mon", "-1", "--output-as=xml"], timeout_s=60).stdout
    return etree.fromstring(shown.encode())


def _failures(lab: Lab) -> int:
    """Count what Pacemaker holds against resources: failed actions, and fail counts."""
    shown = _crm_mon(lab)
    return len(shown.findall("failures/failure")) + len(shown.findall(".//resource_history[@fail-count]"))


def _offline(lab: Lab) -> int:
    return int(any(node.get("online") != "true" for node in _crm_mon(lab).iterfind("nodes/node")))


def _told(result: Result) -> str | None:
    if not result:
        return None
    kinds = ("failures", "restarts", "fencings")
    counts = ", ".join(f"{int(result[kind][0])} {kind}" for kind in kinds)
    hits = f"the memory's limit was hit {int(result['memory limit hit'][0])} times"
    return f"{counts} in {int(result['minutes'][0])} minutes; {hits}"


MEASURES = {
    "pressure": Measure(
        measure_pressure,
        (
            Row(
                "false failures with 20 small VMs on a node whose processors, memory and disk are "
                "driven to their limits (stress-ng)",
                "0 in 10 minutes",
                _told,
            ),
        ),
    ),
}

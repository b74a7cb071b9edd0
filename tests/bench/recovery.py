"""What a failure costs: from the loss of a node until its guests work again."""

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import subjects
from tests.bench.measure import Measure, Result, Row, ratio, seconds
from tests.bench.subjects import MAC, RUNS, Guest, TinyVms, script
from vm_mgr_lab import demo
from vm_mgr_lab import up as bring
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until

__all__ = ["MEASURES"]

VICTIM, WITNESS = "n2", "n1"
FLEET = 20
FLEET_RUNS = 3
PHASES = ("membership lost", "fenced", "VM started", "guest writes again", "guest's boot")


def measure_failover() -> Result:
    """Cut the power of the VM's node, again and again."""
    lab = subjects.lab()
    with Guest(lab, "bench"):
        result = _cuts(lab, RUNS)
        bring.wait_ready(lab, print)
    return result


def measure_defaults() -> Result:
    """Measure the same with the timeouts of the distribution, and nobody who tells Ceph of a fenced node."""
    lab = subjects.lab()
    with Guest(lab, "bench"), _distribution_defaults(lab):
        return _cuts(lab, RUNS, before=_set_defaults)


def measure_fleet() -> Result:
    """Cut the power of a node with one VM, then of one with twenty; all are back when the last QEMU runs.

    The twenty have no system to boot: twenty emulated boots at once would be all that is measured.
    """
    lab = subjects.lab()
    with Guest(lab, "bench"):
        result = {f"one VM: {name}": values for name, values in _cuts(lab, FLEET_RUNS).items()}
        bring.wait_ready(lab, print)
    result["twenty VMs: last one started"] = []
    with TinyVms(lab, FLEET, VICTIM, placed="--preferred-host"):
        for run in range(FLEET_RUNS):
            if run:
                _bring_home(lab)
            result["twenty VMs: last one started"].append(_cut_fleet(lab))
            bring.wait_ready(lab, print)
    return result


def _cuts(lab: Lab, runs: int, before=lambda lab: None) -> Result:
    result: Result = {name: [] for name in PHASES}
    for _ in range(runs):
        bring.wait_ready(lab, print)
        before(lab)
        seen = demo.power_loss(lab, "bench", print, mac_byte=MAC)
        if seen.problems:
            raise LabError("; ".join(seen.problems))
        times = (seen.membership_lost_s, seen.fenced_s, seen.started_s, seen.writes_again_s)
        numbers = [float("nan") if value is None else value for value in times]
        for name, value in zip(PHASES, [*numbers, numbers[-1] - numbers[-2]], strict=True):
            result[name].append(value)
    return result


@contextlib.contextmanager
def _distribution_defaults(lab: Lab) -> Iterator[None]:
    """Give corosync the distribution's timeouts, and the roles' again afterwards."""
    keep = "cp -n /etc/corosync/corosync.conf /root/corosync.conf.roles"
    forget = "sed -i -E '/^ *(token|consensus|token_coefficient):/d' /etc/corosync/corosync.conf"
    for node in lab.nodes:
        lab.execute(node.name, ["sh", "-ec", f"{keep}; {forget}"])
    try:
        yield
    finally:
        bring.wait_ready(lab, print)
        for node in lab.nodes:
            back = "mv /root/corosync.conf.roles /etc/corosync/corosync.conf"
            lab.execute(node.name, ["sh", "-ec", f"{back}; systemctl start vm-mgr-alerts.socket"])
        lab.execute(WITNESS, ["corosync-cfgtool", "-R"])
        lab.execute(WITNESS, ["sh", "-ec", script("ceph_defaults.sh"), "sh", "unset"])
        bring.wait_ready(lab, print)


def _set_defaults(lab: Lab) -> None:
    """Give the daemons that run Ceph's own timeouts, too; a node that was cut has booted with the roles'."""
    for node in lab.nodes:
        lab.execute(node.name, ["systemctl", "stop", "vm-mgr-alerts.socket", "vm-mgr-alerts.service"])
    lab.execute(WITNESS, ["corosync-cfgtool", "-R"])
    lab.execute(WITNESS, ["sh", "-ec", script("ceph_defaults.sh"), "sh", "set"], timeout_s=120)


def _bring_home(lab: Lab) -> None:
    for verb in ("stop --force", "start"):
        for number in range(FLEET):
            lab.execute(WITNESS, ["vm-mgr", *verb.split(), f"tiny{number}"], timeout_s=180)


def _cut_fleet(lab: Lab) -> float:
    """Cut the power of the node of all of them; give when the last QEMU ran, wherever that is."""
    wait_until(lambda: len(_running(lab, VICTIM)) == FLEET, what=f"the fleet on {VICTIM}", timeout_s=120)
    time.sleep(10)  # what starting them has set off is over
    cut_s = time.time()
    lab.cut_power(VICTIM)
    wait_until(
        lambda: len(set().union(*(_running(lab, node.name) for node in lab.nodes))) == FLEET,
        what="all to run again",
        timeout_s=300,
    )
    return time.time() - cut_s


def _running(lab: Lab, node: str) -> set[str]:
    found = set()
    for pid in lab.processes(node):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            found |= set(re.findall(r"guest=(tiny\d+),", words))
    return found


MEASURES = {
    "failover": Measure(
        measure_failover,
        (
            Row("power cut → guest's next acknowledged record", "≤ 10 s", seconds("guest writes again")),
            Row("— of these, until membership was lost", "", seconds("membership lost")),
            Row("— until the node was fenced", "", seconds("fenced")),
            Row("— until QEMU was started", "", seconds("VM started")),
            Row("— the guest's own boot, from QEMU's start to the record", "", seconds("guest's boot")),
        ),
    ),
    "defaults": Measure(
        measure_defaults,
        (
            Row("the same with the distribution's timeouts, record", "", seconds("guest writes again")),
            Row("— until membership was lost, with these", "", seconds("membership lost")),
            Row("— until QEMU was started, with these", "", seconds("VM started")),
        ),
    ),
    "fleet": Measure(
        measure_fleet,
        (
            Row(
                "power cut of a node with 20 VMs without a system → the last one's QEMU runs : the same with "
                "one VM",
                "≤ 3",
                ratio("twenty VMs: last one started", "one VM: VM started"),
            ),
        ),
    ),
}

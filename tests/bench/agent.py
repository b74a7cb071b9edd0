"""What monitoring costs, one call and a node full of VMs, beside ocf:heartbeat:VirtualDomain."""

import json

from tests.bench import subjects
from tests.bench.measure import Measure, Result, Row, ratio
from tests.bench.subjects import Guest, TinyVms, on_node
from vm_mgr_lab.lab import Lab

__all__ = ["MEASURES"]

NODE = "n1"
OURS, THEIRS = "vm-mgr/VirtualDomain", "heartbeat/VirtualDomain"
CALLS = 40
MANY = 100
WINDOWS, WINDOW_S = 3, 60
# Pacemaker's service has the agents' processes, too; libvirt is one daemon, or one for QEMU.
PACEMAKER, LIBVIRT = ("pacemaker",), ("libvirtd", "virtqemud")


def measure_monitor() -> Result:
    """Call monitor for a running guest; VirtualDomain is shown the same domain."""
    lab = subjects.lab()
    with Guest(lab, "bench", "--pinned-host", NODE):
        lab.execute(NODE, ["sh", "-c", "virsh dumpxml bench >/root/bench-live.xml"])
        agents = {OURS: {}, THEIRS: {"config": "/root/bench-live.xml", "hypervisor": "qemu:///system"}}
        told = on_node(lab, "monitor.py", str(CALLS), json.dumps(agents), node=NODE)
        lab.execute(NODE, ["rm", "/root/bench-live.xml"])
    return dict(told)


def measure_many() -> Result:
    """Watch what a node with 100 running tiny domains uses, monitored every 10 s: CPU seconds a second."""
    lab = subjects.lab()
    result: Result = {}
    with TinyVms(lab, MANY, NODE):
        result |= _windows(lab, OURS)
    try:
        on_node(lab, "by_virtualdomain.py", "make", str(MANY), NODE, node=NODE, timeout_s=1800)
        result |= _windows(lab, THEIRS)
    finally:
        on_node(lab, "by_virtualdomain.py", "remove", str(MANY), NODE, node=NODE, timeout_s=1800)
    return result


def _windows(lab: Lab, agent: str) -> Result:
    running = lab.execute(NODE, ["virsh", "list", "--name"]).stdout.split()
    assert len(running) == MANY, running
    result: Result = {f"{agent}, {what}": [] for what in ("Pacemaker and agent", "libvirt")}
    for _ in range(WINDOWS):
        used = on_node(lab, "cpu.py", str(WINDOW_S), *PACEMAKER, *LIBVIRT, node=NODE)
        for what, services in (("Pacemaker and agent", PACEMAKER), ("libvirt", LIBVIRT)):
            result[f"{agent}, {what}"].append(sum(used[service] for service in services) / WINDOW_S)
    return result


MEASURES = {
    "monitor": Measure(
        measure_monitor,
        (
            Row(
                "CPU of a `monitor` call, ours : ocf:heartbeat:VirtualDomain's",
                "≤ 1 : 30",
                ratio(OURS, THEIRS),
            ),
        ),
    ),
    "many": Measure(
        measure_many,
        (
            Row(
                "CPU per second of Pacemaker and agent, 100 running tiny domains on a node, "
                "ours : ocf:heartbeat:VirtualDomain's",
                "≤ 1 : 10",
                ratio(f"{OURS}, Pacemaker and agent", f"{THEIRS}, Pacemaker and agent"),
            ),
            Row(
                "the same for libvirt's daemon and the QEMUs, which are in its control group there",
                "",
                ratio(f"{OURS}, libvirt", f"{THEIRS}, libvirt"),
            ),
        ),
    ),
}

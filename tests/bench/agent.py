"""What monitoring costs, one call and a node full of VMs, beside ocf:heartbeat:VirtualDomain."""

import json

from tests.bench import subjects
from tests.bench.measure import Measure, Result, Row, ratio
from tests.bench.subjects import Guest, on_node
from vm_mgr_lab.lab import Lab

__all__ = ["MEASURES"]

NODE = "n1"
OURS, THEIRS = "vm-mgr/VirtualDomain", "heartbeat/VirtualDomain"
CALLS = 40
MANY = 100
WINDOWS, WINDOW_S = 3, 60
# Pacemaker's service has the agents' processes, too; libvirt is one daemon, or one for QEMU.
PACEMAKER, LIBVIRT = ("pacemaker",), ("libvirtd", "virtqemud")
# No disk to boot from and little memory: the firmware waits for ever.
TINY = """<domain type="qemu"><name>any</name><memory unit="MiB">16</memory>
<os><type arch="x86_64">hvm</type></os><devices/></domain>"""
MAKE = f"""
cat >/root/tiny.xml
qemu-img create -q -f raw /root/tiny.raw 1M
vm-mgr create --name tiny0 --xml /root/tiny.xml --image /root/tiny.raw --pinned-host {NODE}
for number in $(seq {MANY - 1}); do
    vm-mgr clone tiny0 --dst-name tiny$number
done
"""
REMOVE = f"""
for number in $(seq {MANY - 1} -1 0); do
    ! vm-mgr list --output json | grep -q "\\"tiny$number\\"" || vm-mgr remove tiny$number
done
rm -f /root/tiny.xml /root/tiny.raw
"""


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
    _remove(lab)
    try:
        lab.execute(NODE, ["sh", "-ec", MAKE], stdin=TINY, timeout_s=1800)
        result |= _windows(lab, OURS)
    finally:
        _remove(lab)
    try:
        on_node(lab, "by_virtualdomain.py", "make", str(MANY), NODE, node=NODE, timeout_s=1800)
        result |= _windows(lab, THEIRS)
    finally:
        on_node(lab, "by_virtualdomain.py", "remove", str(MANY), NODE, node=NODE, timeout_s=1800)
    return result


def _remove(lab: Lab) -> None:
    lab.execute(NODE, ["sh", "-ec", REMOVE], timeout_s=1800)


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
            Row("the same for libvirt's daemon", "", ratio(f"{OURS}, libvirt", f"{THEIRS}, libvirt")),
        ),
    ),
}

"""VMs with their disks: creating, importing, cloning, snapshots."""

import time

from tests.bench import subjects
from tests.bench.measure import Measure, Result, Row, ratio, seconds
from tests.bench.subjects import (
    BENCH_DISK,
    MAC,
    RUNS,
    Guest,
    Removed,
    create_disabled,
    make_disk,
    on_node,
    script,
    timed,
)
from vm_mgr_lab import demo
from vm_mgr_lab.lab import Lab

__all__ = ["MEASURES"]


def measure_create() -> Result:
    """Compare vm-mgr create until Started with the same steps by hand."""
    lab = subjects.lab()
    disk, definition = demo.guest_files(lab, "n1", print, mac_byte=MAC)
    times: Result = {"vm-mgr create": [], "by hand": []}
    for _ in range(RUNS):
        started = time.monotonic()
        lab.execute(
            "n1", ["vm-mgr", "create", "--name", "bench", "--xml", definition, "--image", disk], timeout_s=180
        )
        times["vm-mgr create"].append(time.monotonic() - started)
        xml = lab.execute("n1", ["rbd", "image-meta", "get", "rbd/system_bench", "xml"]).stdout
        lab.execute("n1", ["vm-mgr", "remove", "bench"], timeout_s=180)
        times["by hand"].append(_by_hand(lab, xml.replace("bench", "hand"), disk))
    return times


def _by_hand(lab: Lab, xml: str, disk: str) -> float:
    primitive = (
        '<primitive id="hand" class="ocf" provider="heartbeat" type="VirtualDomain">'
        '<instance_attributes id="hand-i"><nvpair id="hand-c" name="config" value="/root/hand.xml"/>'
        '<nvpair id="hand-h" name="hypervisor" value="qemu:///system"/></instance_attributes>'
        '<operations><op id="hand-s" name="start" interval="0" timeout="120s"/>'
        '<op id="hand-m" name="monitor" interval="10s" timeout="60s"/></operations></primitive>'
    )
    for node in lab.nodes:
        lab.execute(node.name, ["sh", "-c", "cat > /root/hand.xml"], stdin=xml)
    lab.execute("n1", ["sh", "-c", "cat > /root/hand-primitive.xml"], stdin=primitive)
    started = time.monotonic()
    lab.execute("n1", ["sh", "-c", script("by_hand.sh"), "sh", "hand", disk], timeout_s=180)
    took = time.monotonic() - started
    lab.execute("n1", ["sh", "-c", script("remove_by_hand.sh")], timeout_s=180)
    return took


def measure_import() -> Result:
    """Import 1 GiB that can't be compressed or left out, and copy it with qemu-img, in turns."""
    lab = subjects.lab()
    random = "head -c 1G /dev/urandom >/root/bench.raw; qemu-img convert -O qcow2 /root/bench.raw"
    lab.execute("n1", ["sh", "-ec", f"{random} {BENCH_DISK}; rm /root/bench.raw"], timeout_s=300)
    times: Result = {"vm-mgr create --disable": [], "qemu-img convert": []}
    copy = ["qemu-img", "convert", "-O", "raw", BENCH_DISK, "rbd:rbd/by-hand:id=vm-mgr"]
    with Removed(lab, "bench"):
        lab.execute("n1", ["rbd", "rm", "rbd/by-hand"], check=False)  # of an interrupted run
        for _ in range(RUNS):
            times["vm-mgr create --disable"].append(create_disabled(lab, "bench"))
            lab.execute("n1", ["vm-mgr", "remove", "bench"], timeout_s=180)
            times["qemu-img convert"].append(timed(lab, copy))
            lab.execute("n1", ["rbd", "--no-progress", "rm", "rbd/by-hand"], timeout_s=180)
    return times


def measure_clone() -> Result:
    """Clone a VM with a large disk and one with a small disk in turns: at once means independent of both."""
    lab = subjects.lab()
    sources = {"large": ("10G", "1G"), "small": ("1G", "64M")}
    times: Result = {f"clone of a {source} disk": [] for source in sources}
    with Removed(lab, "copy", *sources):
        for source, (size, written) in sources.items():
            make_disk(lab, size, f"write -P 7 0 {written}")
            create_disabled(lab, source)
        for _ in range(RUNS):
            for source in sources:
                command = ["vm-mgr", "clone", source, "--dst-name", "copy", "--disable"]
                times[f"clone of a {source} disk"].append(timed(lab, command))
                lab.execute("n1", ["vm-mgr", "remove", "copy"], timeout_s=180)
    return times


def measure_snapshot() -> Result:
    """Take snapshots of a running guest with three disks, and no agent, which is therefore paused."""
    lab = subjects.lab()
    make_disk(lab, "64M", "write -P 7 0 1M")
    uris = {"n1": "qemu:///system", "n2": "qemu+ssh://n2-cluster/system?no_tty=1"}
    times: Result = {}
    with Removed(lab):
        for node, uri in uris.items():
            more = ("--additional-disk", BENCH_DISK, "--additional-disk", BENCH_DISK, "--pinned-host", node)
            with Guest(lab, "bench", *more):
                told = on_node(lab, "pauses.py", "bench", str(RUNS), uri)
            where = "on the node of the command" if node == "n1" else "on another node"
            times |= {f"{what} {where}": values for what, values in told.items()}
    return times


MEASURES = {
    "create": Measure(
        measure_create,
        (
            Row(
                "`vm-mgr create` until Started : the steps by hand",
                "≤ 1.5",
                ratio("vm-mgr create", "by hand"),
            ),
        ),
    ),
    "import": Measure(
        measure_import,
        (
            Row(
                "`vm-mgr create --disable` of 1 GiB of random data : `qemu-img convert` into the same pool",
                "≤ 1.11 (0.9 of the rate)",
                ratio("vm-mgr create --disable", "qemu-img convert"),
            ),
        ),
    ),
    "clone": Measure(
        measure_clone,
        (
            Row(
                "`vm-mgr clone --disable`, disk of 10 GiB with 1 GiB written",
                "≤ 2 s",
                seconds("clone of a large disk"),
            ),
            Row("the same, disk of 1 GiB with 64 MiB written", "as above", seconds("clone of a small disk")),
        ),
    ),
    "snapshot": Measure(
        measure_snapshot,
        (
            Row(
                "pause of a running guest for a snapshot of its three disks, asked for on its node",
                "≤ 500 ms",
                seconds("pause of the guest on the node of the command"),
            ),
            Row(
                "the same, asked for on another node",
                "≤ 500 ms",
                seconds("pause of the guest on another node"),
            ),
        ),
    ),
}

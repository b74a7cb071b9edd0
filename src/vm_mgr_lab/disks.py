"""Look at a VM's disk without vm-mgr, whichever storage it is in: its content, and who has it open."""

import contextlib
import gzip
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import bytes_of, run

__all__ = ["OWN", "content", "in_shared_folder", "on_drbd", "openers", "strangers"]

# What belongs to the directory itself, and to no VM; the last is of ocf:heartbeat:Filesystem, which writes to
# see that it can (OCF_CHECK_LEVEL=20).
OWN = (".vm-mgr", ".vm-mgr.lock", ".Filesystem_status")


# On a node: the names of a VM's disks on DRBD, and below each the logical volume of the same number.
LINKS, GROUP = "/var/lib/vm-mgr/drbd", "vm-mgr"
# Which of the devices given as arguments a process of the node has open; one a line.
WHO_HAS_OPEN = """\
import glob, os, sys
wanted = set(map(os.path.realpath, sys.argv[1:]))
found = set()
for name in glob.glob("/proc/[0-9]*/fd/*"):
    try:
        found.add(os.readlink(name))
    except OSError:
        pass
print("\\n".join(wanted & found))
"""


def on_drbd(lab: Lab) -> bool:
    """Tell whether the lab's VMs are on DRBD; such a lab has no other storage."""
    return "drbd" in lab.topology.storages


def in_shared_folder(lab: Lab, vm: str) -> bool:
    """Tell whether a VM is in the shared directory; otherwise it is in Ceph or on DRBD."""
    return (lab.paths.shared / vm).is_dir()


def content(lab: Lab, vm: str, *, node: str) -> bytes:
    """Return what is on a VM's system disk, also while it runs; of Ceph or DRBD through a node."""
    if on_drbd(lab):
        enter = lab.machine(_with_disks(lab, node)).enter_command()
        volume = f"/dev/{GROUP}/$(basename $(readlink {LINKS}/system_{vm}))"
        read = f"dd if={volume} bs=1M iflag=direct status=none | gzip -1"
        return gzip.decompress(bytes_of([*enter, "sh", "-c", read]))
    if not in_shared_folder(lab, vm):
        enter = lab.machine(node).enter_command()
        return bytes_of([*enter, "rbd", "--no-progress", "export", f"rbd/system_{vm}", "-"])
    with tempfile.TemporaryDirectory(dir=lab.paths.state) as folder:
        raw = Path(folder) / "raw"
        run(["qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", _file(lab, vm), raw])
        return raw.read_bytes()


def openers(lab: Lab, vm: str) -> set[str]:
    """Name the nodes that have a VM's system disk open."""
    if in_shared_folder(lab, vm):
        return {node.name for node in lab.nodes if _has_open(lab, node.name, _file(lab, vm))}
    if on_drbd(lab):
        ask_for = ["python3", "-c", WHO_HAS_OPEN, f"{LINKS}/system_{vm}"]
        return {name for name in _hypervisors(lab) if lab.execute(name, ask_for, check=False).stdout.strip()}
    ask = lab.nodes[0].name
    watchers = lab.execute(ask, ["rbd", "status", f"rbd/system_{vm}", "--format", "json"]).stdout
    addresses = {w["address"].split(":")[0] for w in json.loads(watchers)["watchers"]}
    nodes = {node.address("cluster"): node.name for node in lab.nodes}
    return {nodes.get(address, address) for address in addresses}


def strangers(lab: Lab, vms: Sequence[str]) -> list[str]:
    """Name all in the storages that does not belong to the only VMs that there are, and what these lack."""
    if on_drbd(lab):
        return [stranger for name in _hypervisors(lab) for stranger in _strange_volumes(lab, name, vms)]
    ask = lab.nodes[0].name
    found = [f"image {name}" for name in lab.execute(ask, ["rbd", "ls", "rbd"]).stdout.split()]
    found += [f"group {name}" for name in lab.execute(ask, ["rbd", "group", "ls", "rbd"]).stdout.split()]
    found += [f"folder {path.name}" for path in lab.paths.shared.iterdir() if path.name not in OWN]
    wanted = []
    for vm in vms:
        wanted += [f"folder {vm}"] if in_shared_folder(lab, vm) else [f"image system_{vm}", f"group {vm}"]
    return sorted(set(found) ^ set(wanted))


def _hypervisors(lab: Lab) -> list[str]:
    return [node.name for node in lab.nodes if node.role == "hypervisor" and lab.machine(node.name).is_on()]


def _with_disks(lab: Lab, node: str) -> str:
    """Return the node itself if it has halves of disks, else one that has."""
    nodes = _hypervisors(lab)
    return node if node in nodes else nodes[0]


def _strange_volumes(lab: Lab, node: str, vms: Sequence[str]) -> list[str]:
    """Name a node's logical volumes that are no VM's disk; and the VMs that have none there."""
    shown = lab.execute(
        node, ["sh", "-c", f"cd {LINKS} && for one in *; do echo $one $(readlink $one); done"]
    )
    links = dict(line.split() for line in shown.stdout.splitlines() if len(line.split()) == 2)
    mine = {name: device for name, device in links.items() if name.partition("_")[2] in vms}
    listed = lab.execute(
        node, ["lvs", "--noheadings", "--options", "lv_name", "--select", "pool_lv!=''", GROUP]
    )
    volumes = {name.partition(".")[0] for name in listed.stdout.split()}
    used = {Path(device).name for device in mine.values()}
    missing = [vm for vm in vms if f"system_{vm}" not in mine]
    return [
        *(f"{node}: volume {name}" for name in sorted(volumes ^ used)),
        *(f"{node}: no disk of {vm}" for vm in missing),
    ]


def _file(lab: Lab, vm: str) -> Path:
    return lab.paths.shared / vm / "system.qcow2"


def _has_open(lab: Lab, node: str, file: Path) -> bool:
    wanted = file.stat()
    for pid in lab.processes(node):
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    seen = os.stat(descriptor)  # noqa: PTH116 - what the descriptor is, not where its link leads
                    if (seen.st_dev, seen.st_ino) == (wanted.st_dev, wanted.st_ino):
                        return True
    return False

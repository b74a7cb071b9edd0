"""Look at a VM's disk without vm-mgr, whichever storage it is in: its content, and who has it open."""

import contextlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import bytes_of, run

__all__ = ["OWN", "content", "in_shared_folder", "openers", "strangers"]

# What belongs to the directory itself, and to no VM; the last is of ocf:heartbeat:Filesystem, which writes to
# see that it can (OCF_CHECK_LEVEL=20).
OWN = (".vm-mgr", ".vm-mgr.lock", ".Filesystem_status")


def in_shared_folder(lab: Lab, vm: str) -> bool:
    """Tell whether a VM is in the shared directory; otherwise it is in Ceph."""
    return (lab.paths.shared / vm).is_dir()


def content(lab: Lab, vm: str, *, node: str) -> bytes:
    """Return what is on a VM's system disk, also while it runs; of Ceph through a node that is up."""
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
    ask = lab.nodes[0].name
    watchers = lab.execute(ask, ["rbd", "status", f"rbd/system_{vm}", "--format", "json"]).stdout
    addresses = {w["address"].split(":")[0] for w in json.loads(watchers)["watchers"]}
    nodes = {node.address("cluster"): node.name for node in lab.nodes}
    return {nodes.get(address, address) for address in addresses}


def strangers(lab: Lab, vms: Sequence[str]) -> list[str]:
    """Name all in the storages that does not belong to the only VMs that there are, and what these lack."""
    ask = lab.nodes[0].name
    found = [f"image {name}" for name in lab.execute(ask, ["rbd", "ls", "rbd"]).stdout.split()]
    found += [f"group {name}" for name in lab.execute(ask, ["rbd", "group", "ls", "rbd"]).stdout.split()]
    found += [f"folder {path.name}" for path in lab.paths.shared.iterdir() if path.name not in OWN]
    wanted = []
    for vm in vms:
        wanted += [f"folder {vm}"] if in_shared_folder(lab, vm) else [f"image system_{vm}", f"group {vm}"]
    return sorted(set(found) ^ set(wanted))


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

"""List the VMs of a directory; the rest of the storage takes 20 ms to load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.adapters.shared_dir.files import is_file, is_folder
from vm_mgr.adapters.shared_dir.layout import METADATA
from vm_mgr.model.vm import VmName, name_problems

if TYPE_CHECKING:
    from pathlib import Path

    from vm_mgr.adapters.shared_dir.mount import Mount

__all__ = ["is_vm", "vm_names"]


def vm_names(mount: Mount) -> set[VmName]:
    """Name the folders that are VMs."""
    with mount.working("can't list the VMs") as root:
        return {VmName(path.name) for path in root.iterdir() if is_vm(root, VmName(path.name))}


def is_vm(root: Path, name: VmName) -> bool:
    """Tell a VM's folder from anything else that lies in the directory."""
    folder = root / name
    return not name_problems(name) and is_folder(folder) and is_file(folder / METADATA)

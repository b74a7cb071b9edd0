"""Name things in the directory (docs/explanation/shared-directory.md)."""

import re
from pathlib import Path

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.vm import VmName, name_problems

__all__ = [
    "DECIDED",
    "DEFINITION",
    "MEMORY",
    "METADATA",
    "RESUMED",
    "SAVED",
    "disk_file",
    "disk_number",
    "image_file",
    "new_folder",
    "old_folder",
    "vm_folder",
]

DEFINITION = "domain.xml"
METADATA = "metadata.json"
DECIDED = "decided"
# A guest's saved memory, and what says that it is complete, or that it may never be resumed again.
MEMORY, SAVED, RESUMED = "memory", "saved.json", "resumed.json"
_DATA = re.compile(r"data_(0|[1-9][0-9]*)\.qcow2")
# A name can have underscores too: the number is what follows the last one.
_IMAGE = re.compile(
    r"system_(?P<system>[A-Za-z0-9._-]+)|data_(?P<data>[A-Za-z0-9._-]+)_(?P<number>0|[1-9][0-9]*)"
)


def vm_folder(root: Path, name: VmName) -> Path:
    """Give a VM's folder; raises INVALID for a name that could lead anywhere else.

    >>> vm_folder(Path("/vms"), VmName("web1")).as_posix()
    '/vms/web1'
    """
    raise_all(name_problems(name))
    return root / name


def new_folder(root: Path, name: VmName) -> Path:
    """Give the folder of a VM that is being made."""
    return root / f".new-{vm_folder(root, name).name}"


def old_folder(root: Path, name: VmName) -> Path:
    """Give the folder of a VM that has been replaced or removed and will be deleted."""
    return root / f".old-{vm_folder(root, name).name}"


def disk_file(number: int) -> str:
    """Name a disk's file: 0 is the system disk.

    >>> disk_file(0), disk_file(1)
    ('system.qcow2', 'data_0.qcow2')
    """
    return f"data_{number - 1}.qcow2" if number else "system.qcow2"


def disk_number(file: str) -> int | None:
    """Tell which disk a file is, or None for another file.

    >>> disk_number("system.qcow2"), disk_number("data_1.qcow2"), disk_number("domain.xml")
    (0, 2, None)
    """
    found = _DATA.fullmatch(file)
    return 0 if file == disk_file(0) else int(found.group(1)) + 1 if found else None


def image_file(root: Path, image: str) -> Path:
    """Give the file of a disk by the ports' name for it; raises NOT_FOUND for one that can't be a VM's.

    >>> image_file(Path("/vms"), "data_web1_0").as_posix()
    '/vms/web1/data_0.qcow2'
    >>> image_file(Path("/vms"), "data_web_1_0").as_posix()
    '/vms/web_1/data_0.qcow2'
    """
    found = _IMAGE.fullmatch(image)
    name = VmName(found["system"] or found["data"]) if found else VmName("")
    if found is None or name_problems(name):
        raise VmMgrError(Kind.NOT_FOUND, f"there is no disk {image!r}", hint="see the VMs: vm-mgr list")
    number = int(found["number"]) + 1 if found["number"] else 0
    return vm_folder(root, name) / disk_file(number)

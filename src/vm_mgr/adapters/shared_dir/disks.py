"""Make a further disk in a folder that nobody looks into, and give it to the VM by one rename."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.adapters.shared_dir import commands, layout
from vm_mgr.adapters.shared_dir.files import delete, is_file
from vm_mgr.adapters.shared_dir.staging import unstage
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import DiskTies

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vm_mgr.adapters.shared_dir.folders import VmFolders
    from vm_mgr.model.storage import ImageFile
    from vm_mgr.model.vm import VmName

__all__ = ["drop", "following", "make", "place", "ties"]


def following(storage: VmFolders, name: VmName) -> int:
    """Count the disks, which are to be numbered without gaps; a link in the way is no disk."""
    numbers = storage.numbers(name)
    present = _places(storage, name, len(numbers))[1]
    hint = f"look: ls {present.parent}"
    if numbers != list(range(len(numbers))):
        message = f"the disks of {name} are not numbered without gaps: {numbers}"
        raise VmMgrError(Kind.WRONG_STATE, message, hint=hint)
    if present.is_symlink() or present.exists():
        raise VmMgrError(Kind.EXISTS, f"{present} is there and is no disk", hint=hint)
    return len(numbers)


def make(
    storage: VmFolders,
    name: VmName,
    number: int,
    size_bytes: int,
    image: ImageFile | None,
    on_progress: Callable[[float], None],
) -> None:
    """Make the file, and have it on the disk, before it is anybody's."""
    unstage(storage, name)
    files, (new, _) = storage.mount.files, _places(storage, name, number)
    files.make_folder(new.parent)
    files.make_file(new)
    storage.qcow2.create(new, size_bytes)
    if image is not None:
        storage.qcow2.convert(commands.convert(image.path, image.format, str(new)), on_progress)
    files.sync(new)
    files.sync(new.parent)


def place(storage: VmFolders, name: VmName, number: int) -> None:
    """Rename it to where the VM's disks are."""
    files, (new, present) = storage.mount.files, _places(storage, name, number)
    if is_file(new):
        files.rename(new, present)
        files.sync(present.parent)
    elif not is_file(present):
        message = f"the new disk of {name} is gone: {new}"
        raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=f"look: ls {present.parent}")
    delete(files, new.parent)


def drop(storage: VmFolders, name: VmName, number: int) -> None:
    """Remove the file; the guest may run with its other disks, and has let go of this one."""
    files, (_, present) = storage.mount.files, _places(storage, name, number)
    if is_file(present):
        storage.require_unused(name, number)
        files.unlink(present)
        files.sync(present.parent)


def ties(storage: VmFolders, name: VmName, number: int) -> DiskTies:
    """Read the snapshots that are in the file; a clone is a whole file."""
    if number not in storage.numbers(name):
        hint = f"the disks of {name} are numbered {storage.numbers(name)}"
        raise VmMgrError(Kind.NOT_FOUND, f"{name} has no disk {number}", hint=hint)
    inner = storage.qcow2.describe(_places(storage, name, number)[1]).snapshots
    return DiskTies(tuple(dict.fromkeys(one.name for one in inner)))


def _places(storage: VmFolders, name: VmName, number: int) -> tuple[Path, Path]:
    root, file = storage.mount.root, layout.disk_file(number)
    return layout.new_folder(root, name) / file, layout.vm_folder(root, name) / file

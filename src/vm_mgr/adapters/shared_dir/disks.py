"""Describe and resize a VM's disks; make further ones in a folder that nobody looks into."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vm_mgr.adapters.shared_dir import commands, layout
from vm_mgr.adapters.shared_dir.files import delete, is_file
from vm_mgr.adapters.shared_dir.staging import unstage
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.capacity import Room
from vm_mgr.model.storage import Disk, DiskInfo, DiskKind, DiskTies

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vm_mgr.adapters.shared_dir.folders import VmFolders
    from vm_mgr.model.storage import ImageFile
    from vm_mgr.model.vm import VmName

__all__ = ["SharedDisks"]

LITTLE = 1 << 20
# QEMU's io=native needs O_DIRECT, which only these cache modes have.
DIRECT = ("none", "directsync")


class SharedDisks:
    """Files of VMs' folders."""

    def __init__(self, folders: VmFolders) -> None:
        self.folders = folders

    def of(self, name: VmName) -> list[DiskInfo]:
        """Describe the disks; none depends on another file."""
        with self.folders.working(f"can't list the disks of {name}"):
            images = self.folders.images(name)
        described = []
        for image, path in zip(images, self.folders.disk_files(name), strict=True):
            found = self.folders.qcow2.describe(path)
            described.append(DiskInfo(image, found.size_bytes, found.used_bytes))
        return described

    def locate(self, name: VmName, number: int, bus: str | None) -> Disk:
        """Give the path, which is the same on every node."""
        cache, io = self.folders.cache, self.folders.io
        return Disk(
            str(layout.vm_folder(self.folders.mount.root, name) / layout.disk_file(number)),
            bus=bus or "",
            cache=cache,
            kind=DiskKind.FILE,
            format="qcow2",
            io=io if io != "native" or cache in DIRECT else "",
        )

    def resize(self, name: VmName, image: str, size_bytes: int) -> None:
        """Grow a disk; one that is in use is grown by its QEMU, which the caller is about to tell."""
        with self.folders.working(f"can't resize {image} of {name}") as root:
            look = self.folders.qcow2.look(layout.image_file(root, image))
            if not look.in_use and look.image.size_bytes != size_bytes:
                self.folders.qcow2.resize(look.path, size_bytes)

    def next_number(self, name: VmName) -> int:
        """Count the disks, which are to be numbered without gaps; a link in the way is no disk."""
        with self.folders.working(f"can't look at the disks of {name}"):
            self.folders.folder(name)
            numbers = self.folders.numbers(name)
            present = self._places(name, len(numbers))[1]
            hint = f"look: ls {present.parent}"
            if numbers != list(range(len(numbers))):
                message = f"the disks of {name} are not numbered without gaps: {numbers}"
                raise VmMgrError(Kind.WRONG_STATE, message, hint=hint)
            if present.is_symlink() or present.exists():
                raise VmMgrError(Kind.EXISTS, f"{present} is there and is no disk", hint=hint)
            return len(numbers)

    def make(
        self,
        name: VmName,
        number: int,
        size_bytes: int,
        image: ImageFile | None,
        on_progress: Callable[[float], None],
    ) -> None:
        """Make the file, and have it on the disk, before it is anybody's."""
        with self.folders.working(f"can't make a disk for {name}"):
            self.folders.folder(name)
            unstage(self.folders, name)
            files, (new, _) = self.folders.mount.files, self._places(name, number)
            files.make_folder(new.parent)
            files.make_file(new)
            self.folders.qcow2.create(new, size_bytes)
            if image is not None:
                argv = commands.convert(image.source, image.format, str(new))
                self.folders.qcow2.convert(argv, on_progress, image.path)
            files.sync(new)
            files.sync(new.parent)

    def place(self, name: VmName, number: int) -> None:
        """Rename it to where the VM's disks are."""
        with self.folders.working(f"can't give {name} its new disk"):
            files, (new, present) = self.folders.mount.files, self._places(name, number)
            if is_file(new):
                files.rename(new, present)
                files.sync(present.parent)
            elif not is_file(present):
                message = f"the new disk of {name} is gone: {new}"
                raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=f"look: ls {present.parent}")
            delete(files, new.parent)

    def drop(self, name: VmName, number: int) -> None:
        """Remove the file; the guest may run with its other disks, and has let go of this one."""
        with self.folders.working(f"can't remove disk {number} of {name}"):
            files, (_, present) = self.folders.mount.files, self._places(name, number)
            if is_file(present):
                self.folders.require_unused(name, number)
                files.unlink(present)
                files.sync(present.parent)

    def ties(self, name: VmName, number: int) -> DiskTies:
        """Read the snapshots that are in the file; a clone is a whole file."""
        with self.folders.working(f"can't look at disk {number} of {name}"):
            if number not in self.folders.numbers(name):
                hint = f"the disks of {name} are numbered {self.folders.numbers(name)}"
                raise VmMgrError(Kind.NOT_FOUND, f"{name} has no disk {number}", hint=hint)
            inner = self.folders.qcow2.describe(self._places(name, number)[1]).snapshots
            return DiskTies(tuple(dict.fromkeys(one.name for one in inner)))

    def room(self) -> Room:
        """Ask the file system."""
        with self.folders.working("can't see how much room there is"):
            seen = os.statvfs(self.folders.mount.root)
            return Room(seen.f_blocks * seen.f_frsize, seen.f_bavail * seen.f_frsize)

    def full(self, name: VmName) -> str:
        """Ask the file system, which counts the quota of a folder, too."""
        with self.folders.working(f"can't ask for room for {name}"):
            found = os.statvfs(self.folders.folder(name))
        return "" if found.f_bavail * found.f_frsize >= LITTLE else f"{self.folders.mount.root} is full"

    def _places(self, name: VmName, number: int) -> tuple[Path, Path]:
        root, file = self.folders.mount.root, layout.disk_file(number)
        return layout.new_folder(root, name) / file, layout.vm_folder(root, name) / file

"""Make a VM in a folder that nobody looks into, and put it in place at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.adapters.shared_dir import commands, layout
from vm_mgr.adapters.shared_dir.files import delete, is_file, is_folder, write
from vm_mgr.adapters.shared_dir.nvram import write_nvram
from vm_mgr.adapters.shared_dir.record import Record, render
from vm_mgr.errors import Kind, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from vm_mgr.adapters.shared_dir.folders import VmFolders
    from vm_mgr.model.storage import ImageFile
    from vm_mgr.model.vm import VmName, VmSettings

__all__ = ["StagedFolder", "unstage"]


class StagedFolder:
    """A folder `.new-NAME`; nothing in it counts before the one rename that decides."""

    def __init__(self, folders: VmFolders, name: VmName) -> None:
        self.folders = folders
        self.files = folders.mount.files
        self.name = name
        self.count = 0
        unstage(folders, name)
        with folders.working(f"can't begin {name}") as root:
            self.folder = layout.new_folder(root, name)
            _refuse_foreign(folders, name)
            self.files.make_folder(self.folder)

    def add(self, size_bytes: int) -> None:
        """Make an empty disk."""
        with self.folders.working(f"can't create a disk of {self.name}"):
            self.folders.qcow2.create(self._next(), size_bytes)

    def add_clone(self, image: str, snapshot: str) -> None:
        """Make a disk from a snapshot, at once where files can share blocks, else by copying."""
        with self.folders.working(f"can't clone {image}") as root:
            self.folders.qcow2.clone(layout.image_file(root, image), snapshot, self._next())

    def fill(self, image: ImageFile, on_progress: Callable[[float], None]) -> None:
        """Copy an image file."""
        with self.folders.working(f"can't import {image.path}"):
            argv = commands.convert(image.source, image.format, str(self._last()))
            self.folders.qcow2.convert(argv, on_progress, image.path)

    def compare(self, image: ImageFile, on_progress: Callable[[float], None]) -> None:
        """Compare with qemu-img."""
        with self.folders.working(f"can't compare with {image.path}"):
            argv = commands.compare(image.source, image.format, str(self._last()))
            self.folders.qcow2.convert(argv, on_progress, image.path)

    def copy(self, image: str, snapshot: str, on_progress: Callable[[float], None]) -> None:
        """Copy a snapshot."""
        with self.folders.working(f"can't copy {image}") as root:
            source = str(layout.image_file(root, image))
            argv = commands.convert(source, "qcow2", str(self._last()), snapshot=snapshot)
            self.folders.qcow2.convert(argv, on_progress)

    def describe(
        self, *, xml: str, base_xml: str, settings: VmSettings, notes: Mapping[str, str], nvram: bytes = b""
    ) -> None:
        """Write definition and settings beside the disks."""
        given = {**settings.user_metadata, **notes, "vm_name": self.name, "_base_xml": base_xml}
        with self.folders.working(f"can't describe {self.name}"):
            if nvram:
                write_nvram(self.files, self.folder, nvram)
            self.files.put(self.folder / layout.DEFINITION, xml)
            self.files.put(self.folder / layout.METADATA, render(Record(settings).with_keys(given)))

    def commit(self) -> None:
        """Have it all on the disk, then decide: by its rename, or by a file in it where that takes two."""
        with self.folders.working(f"can't finish {self.name}") as root:
            present = layout.vm_folder(root, self.name)
            for path in sorted(self.folder.iterdir()):
                self.files.sync(path)
            self.files.sync(self.folder)
            if is_folder(present):
                self.folders.require_unused(self.name)
                write(self.files, self.folder / layout.DECIDED, "")
            _put_in_place(self.folders, self.name)

    def close(self) -> None:
        """Remove what was not committed."""
        unstage(self.folders, self.name)

    def _next(self) -> Path:
        """Name the next disk and make its file, so that its content is never anybody else's to read."""
        self.count += 1
        self.files.make_file(self._last())
        return self._last()

    def _last(self) -> Path:
        return self.folder / layout.disk_file(self.count - 1)


def unstage(folders: VmFolders, name: VmName) -> bool:
    """Finish what was decided, remove what was only begun, and what had been replaced or removed."""
    with folders.working(f"can't recover {name}") as root:
        new, present = layout.new_folder(root, name), layout.vm_folder(root, name)
        decided = any(is_file(folder / layout.DECIDED) for folder in (new, present))
        if decided:
            _put_in_place(folders, name)
        delete(folders.mount.files, new)
        delete(folders.mount.files, layout.old_folder(root, name))
    return decided


def _put_in_place(folders: VmFolders, name: VmName) -> None:
    """Give the new folder the VM's name, after what has it; can be repeated from anywhere.

    Two renames, since exchanging two folders in one (renameat2) is beyond NFS and OCFS2.
    """
    files, root = folders.mount.files, folders.mount.root
    new, present, old = (
        place(root, name) for place in (layout.new_folder, layout.vm_folder, layout.old_folder)
    )
    if is_folder(new):
        if is_folder(present):
            delete(files, old)
            files.rename(present, old)
            files.sync(root)
        files.rename(new, present)
        files.sync(root)
    delete(files, old)
    if is_file(present / layout.DECIDED):
        files.unlink(present / layout.DECIDED)
        files.sync(present)


def _refuse_foreign(folders: VmFolders, name: VmName) -> None:
    for path in (layout.vm_folder(folders.mount.root, name), layout.new_folder(folders.mount.root, name)):
        if path.is_symlink() or (path.exists() and not folders.is_vm(name)):
            hint = f"if nobody needs it, remove it: {path}"
            raise VmMgrError(Kind.EXISTS, f"{path} is there and belongs to no VM", hint=hint)

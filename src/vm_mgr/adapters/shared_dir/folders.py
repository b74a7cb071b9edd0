"""The folder of the VMs' folders: what all parts of the storage in a directory work with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.adapters.shared_dir import layout
from vm_mgr.adapters.shared_dir.files import is_file, is_folder, read, write
from vm_mgr.adapters.shared_dir.images import Images
from vm_mgr.adapters.shared_dir.listing import is_vm
from vm_mgr.adapters.shared_dir.record import Record, render
from vm_mgr.adapters.shared_dir.record import parse as parse_record
from vm_mgr.errors import Kind, ProgramError, VmMgrError
from vm_mgr.model.storage import disk_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from vm_mgr.adapters.shared_dir.mount import Mount
    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.clock import Clock
    from vm_mgr.ports.open_disks import OpenDisks
    from vm_mgr.ports.runner import Runner

__all__ = ["VmFolders"]


class VmFolders:
    """Folders of a mounted directory, each a VM's: its disks' files, definition and metadata.

    Without open_disks there are no snapshots of a VM while it runs.
    """

    def __init__(
        self,
        mount: Mount,
        runner: Runner,
        clock: Clock,
        *,
        cache: str = "none",
        io: str = "native",
        open_disks: OpenDisks | None = None,
        require: Callable[[], None] = lambda: None,
    ) -> None:
        """require raises where a lock has ended under which something is to be changed."""
        self.require = require
        self.mount = mount
        self.runner = runner
        self.clock = clock
        self.cache = cache
        self.io = io
        self.open_disks = open_disks
        self.qcow2 = Images(runner)

    def working(self, doing: str) -> AbstractContextManager[Path]:
        """Give the directory if it is there; translate errors."""
        self.require()
        return self.mount.working(doing)

    def is_vm(self, name: VmName) -> bool:
        """Tell a VM's folder from anything else that lies in the directory."""
        return is_vm(self.mount.root, name)

    def record(self, name: VmName) -> Record:
        """Read metadata.json; raises NOT_FOUND for no such VM."""
        with self.working(f"can't read the metadata of {name}"):
            path = self.folder(name) / layout.METADATA
            try:
                return parse_record(read(path) or "")
            except ValueError as error:
                message = f"can't read {path}: {error}"
                raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint="mend the file") from error

    def write_record(self, name: VmName, record: Record) -> None:
        """Replace metadata.json."""
        write(self.mount.files, self.folder(name) / layout.METADATA, render(record))

    def disk_files(self, name: VmName) -> list[Path]:
        """Give the files of the disks, the system disk first; raises NOT_FOUND for no such VM."""
        with self.working(f"can't list the disks of {name}"):
            folder = self.folder(name)
            return [folder / layout.disk_file(number) for number in self.numbers(name)]

    def numbers(self, name: VmName) -> list[int]:
        """Number the disks that there are; the system disk is always among them."""
        folder = layout.vm_folder(self.mount.root, name)
        files = [path.name for path in folder.iterdir() if is_file(path)] if is_folder(folder) else []
        numbers = {number for file in files if (number := layout.disk_number(file)) is not None}
        return sorted({0} | numbers)

    def images(self, name: VmName) -> list[str]:
        """Name the disks as the ports do."""
        return [disk_image(name, number) for number in self.numbers(name)]

    def require_unused(self, name: VmName, number: int | None = None) -> None:
        """Raise WRONG_STATE while a QEMU has a disk, or this one; a broken or missing one hinders nobody."""
        folder = layout.vm_folder(self.mount.root, name)
        files = self.disk_files(name) if number is None else [folder / layout.disk_file(number)]
        for path in files:
            try:
                self.qcow2.require_unused(name, [path])
            except ProgramError:
                continue

    def folder(self, name: VmName) -> Path:
        """Give a VM's folder; raises NOT_FOUND for no such VM."""
        folder = layout.vm_folder(self.mount.root, name)
        if not self.is_vm(name):
            message = f"{name} has no folder in {self.mount.root}"
            raise VmMgrError(Kind.NOT_FOUND, message, hint="see the VMs: vm-mgr list")
        return folder

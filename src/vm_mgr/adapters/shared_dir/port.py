"""Meet the storage and snapshots ports with a folder per VM: qcow2 disks, the definition, metadata."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from vm_mgr.adapters.shared_dir import layout, snapshots, staging
from vm_mgr.adapters.shared_dir.files import delete, is_file, is_folder, read, write
from vm_mgr.adapters.shared_dir.images import Images
from vm_mgr.adapters.shared_dir.record import Record, render
from vm_mgr.adapters.shared_dir.record import parse as parse_record
from vm_mgr.errors import Kind, ProgramError, VmMgrError
from vm_mgr.model.storage import Consistency, Disk, DiskInfo, DiskKind, Holder, Snapshot
from vm_mgr.model.vm import VmName, VmSettings, name_problems

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from vm_mgr.adapters.shared_dir.mount import Mount
    from vm_mgr.ports.clock import Clock
    from vm_mgr.ports.open_disks import OpenDisks
    from vm_mgr.ports.runner import Runner

__all__ = ["SharedDirectory"]

# QEMU's io=native needs O_DIRECT, which only these cache modes have.
DIRECT = ("none", "directsync")


class SharedDirectory:
    """VMs as folders of a mounted directory.

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
    ) -> None:
        self.mount = mount
        self.runner = runner
        self.clock = clock
        self.cache = cache
        self.io = io
        self.open_disks = open_disks
        self.qcow2 = Images(runner)

    def names(self) -> set[VmName]:
        """List the folders that are VMs."""
        with self.working("can't list the VMs") as root:
            return {VmName(path.name) for path in root.iterdir() if self.is_vm(VmName(path.name))}

    def exists(self, name: VmName) -> bool:
        """Look for the folder."""
        with self.working(f"can't look for {name}"):
            return self.is_vm(name)

    def definition(self, name: VmName) -> str:
        """Read the domain XML that is started."""
        with self.working(f"can't read the definition of {name}") as root:
            path = self._folder(name) / layout.DEFINITION
            xml = read(path)
        if xml is None:
            message = f"{name} has no definition in {root}"
            raise VmMgrError(Kind.NOT_FOUND, message, hint=f"put the domain XML there: {path}")
        return xml

    def settings(self, name: VmName) -> VmSettings:
        """Read the settings."""
        return self.record(name).settings

    def definitions(self) -> Mapping[VmName, str]:
        """Read every VM's domain XML."""
        with self.working("can't read the definitions") as root:
            read_all = {name: read(root / name / layout.DEFINITION) for name in self.names()}
        return {name: xml for name, xml in read_all.items() if xml is not None}

    def metadata(self, name: VmName) -> Mapping[str, str]:
        """Give the keys, the definition among them."""
        return {**self.record(name).keys, "xml": self.definition(name)}

    def change_settings(self, name: VmName, settings: VmSettings) -> None:
        """Replace the settings, add the user's own notes to the keys."""
        with self.working(f"can't describe {name}"):
            record = self.record(name)
            keys = {**record.keys, **settings.user_metadata}
            self.write_record(name, record._replace(settings=settings, keys=keys))

    def describe(self, name: VmName, metadata: Mapping[str, str | None]) -> None:
        """Set and remove keys: the definition first, so that the other keys tell that it was written."""
        given = {key: value for key, value in metadata.items() if key != "xml"}
        xml = metadata.get("xml")
        with self.working(f"can't describe {name}"):
            folder, record = self._folder(name), self.record(name)
            if xml is not None:
                write(self.mount.files, folder / layout.DEFINITION, xml)
            if given:
                merged = {**record.keys, **given}
                keys = {key: value for key, value in merged.items() if value is not None}
                self.write_record(name, record._replace(keys=keys))

    def disk(self, name: VmName, number: int, bus: str | None) -> Disk:
        """Say how a domain reaches a disk: by the same path on every node."""
        return Disk(
            str(layout.vm_folder(self.mount.root, name) / layout.disk_file(number)),
            bus=bus or "virtio",
            cache=self.cache,
            kind=DiskKind.FILE,
            format="qcow2",
            io=self.io if self.io != "native" or self.cache in DIRECT else "",
        )

    @contextmanager
    def stage(self, name: VmName) -> Iterator[staging.StagedFolder]:
        """Begin a VM in a folder of its own."""
        staged = staging.StagedFolder(self, name)
        try:
            yield staged
        finally:
            staged.close()

    def unstage(self, name: VmName) -> bool:
        """Settle what a killed creation left."""
        return staging.unstage(self, name)

    def rename(self, name: VmName, new: VmName) -> None:
        """Rename the folder: nothing in it but definition and metadata has the VM's name."""
        with self.working(f"can't rename {name}") as root:
            old, folder = layout.vm_folder(root, name), layout.vm_folder(root, new)
            if not self.is_vm(name):
                return
            if folder.is_symlink() or folder.exists():
                message = f"{folder} is there already"
                raise VmMgrError(Kind.EXISTS, message, hint="choose another name")
            self.require_unused(name)
            self.mount.files.rename(old, folder)
            self.mount.files.sync(root)

    def remove(self, name: VmName) -> bool:
        """Take the folder away by one rename, then delete it, and what an unfinished operation left."""
        with self.working(f"can't remove {name}") as root:
            files, old = self.mount.files, layout.old_folder(root, name)
            begun = is_folder(old)
            found = self.unstage(name) or begun or self.is_vm(name)
            if self.is_vm(name):
                self.require_unused(name)
                files.rename(layout.vm_folder(root, name), old)
                files.sync(root)
                delete(files, old)
        return found

    def images(self, name: VmName) -> list[str]:
        """Name the VM's disks; the system disk is always among them."""
        with self.working(f"can't list the disks of {name}"):
            return [layout.disk_image(name, number) for number in self._numbers(name)]

    def disks(self, name: VmName) -> list[DiskInfo]:
        """Describe the disks; none depends on another file."""
        described = []
        for image, path in zip(self.images(name), self.disk_files(name), strict=True):
            found = self.qcow2.describe(path)
            described.append(DiskInfo(image, found.size_bytes, found.used_bytes))
        return described

    def resize(self, name: VmName, image: str, size_bytes: int) -> None:
        """Grow a disk; one that is in use is grown by its QEMU, which the caller is about to tell."""
        with self.working(f"can't resize {image} of {name}") as root:
            look = self.qcow2.look(layout.image_file(root, image))
            if not look.in_use and look.image.size_bytes != size_bytes:
                self.qcow2.resize(look.path, size_bytes)

    def dependents(self, name: VmName) -> list[str]:  # noqa: ARG002 - the same for every VM
        """Name nothing: a clone is a whole file, even where the file system lets it share blocks."""
        return []

    def snapshots(self, name: VmName) -> list[Snapshot]:
        """List the snapshots."""
        with self.working(f"can't list the snapshots of {name}"):
            return snapshots.listed(self, name)

    def take_snapshot(self, name: VmName, snapshot: str, consistency: Consistency) -> None:
        """Take one on every disk."""
        with self.working(f"can't take the snapshot {snapshot} of {name}"):
            snapshots.take(self, name, snapshot, consistency)

    def drop_snapshot(self, name: VmName, snapshot: str) -> None:
        """Delete one from every disk."""
        with self.working(f"can't remove the snapshot {snapshot} of {name}"):
            snapshots.drop(self, name, snapshot)

    def roll_back(self, name: VmName, snapshot: str) -> None:
        """Take every disk back."""
        with self.working(f"can't roll {name} back to {snapshot}"):
            snapshots.roll_back(self, name, snapshot)

    def holders(self, images: Sequence[str]) -> list[Holder]:  # noqa: ARG002 - nobody knows
        """Name nobody: which client has a file open, a shared file system tells no other node.

        What refuses the second start here is libvirt's lock manager: virtlockd, on every node, holds a lease
        (fcntl) on each disk for as long as the VM runs. QEMU's own locks on the image are the second bar.
        """
        return []

    def evict(self, holder: Holder) -> None:
        """Refuse: leases end with their node, by fencing."""
        message = f"a directory can't shut out {holder.address}"
        raise VmMgrError(Kind.NOT_SUPPORTED, message, hint="fence the node: stonith_admin --reboot NODE")

    def working(self, doing: str) -> AbstractContextManager[Path]:
        """Give the directory if it is there; translate errors."""
        return self.mount.working(doing)

    def is_vm(self, name: VmName) -> bool:
        """Tell a VM's folder from anything else that lies in the directory."""
        folder = self.mount.root / name
        return not name_problems(name) and is_folder(folder) and is_file(folder / layout.METADATA)

    def record(self, name: VmName) -> Record:
        """Read metadata.json; raises NOT_FOUND for no such VM."""
        with self.working(f"can't read the metadata of {name}"):
            path = self._folder(name) / layout.METADATA
            try:
                return parse_record(read(path) or "")
            except ValueError as error:
                message = f"can't read {path}: {error}"
                raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint="mend the file") from error

    def write_record(self, name: VmName, record: Record) -> None:
        """Replace metadata.json."""
        write(self.mount.files, self._folder(name) / layout.METADATA, render(record))

    def disk_files(self, name: VmName) -> list[Path]:
        """Give the files of the disks, the system disk first; raises NOT_FOUND for no such VM."""
        with self.working(f"can't list the disks of {name}"):
            folder = self._folder(name)
            return [folder / layout.disk_file(number) for number in self._numbers(name)]

    def require_unused(self, name: VmName) -> None:
        """Raise WRONG_STATE while a QEMU has a disk; one that is broken or missing hinders nobody."""
        for path in self.disk_files(name):
            try:
                self.qcow2.require_unused(name, [path])
            except ProgramError:
                continue

    def _numbers(self, name: VmName) -> list[int]:
        folder = layout.vm_folder(self.mount.root, name)
        files = [path.name for path in folder.iterdir() if is_file(path)] if is_folder(folder) else []
        numbers = {number for file in files if (number := layout.disk_number(file)) is not None}
        return sorted({0} | numbers)

    def _folder(self, name: VmName) -> Path:
        folder = layout.vm_folder(self.mount.root, name)
        if not self.is_vm(name):
            message = f"{name} has no folder in {self.mount.root}"
            raise VmMgrError(Kind.NOT_FOUND, message, hint="see the VMs: vm-mgr list")
        return folder

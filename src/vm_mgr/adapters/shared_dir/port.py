"""Meet the storage and snapshots ports with a folder per VM: qcow2 disks, the definition, metadata."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vm_mgr.adapters.shared_dir import disks, layout, saved_states, snapshots, staging, uuids
from vm_mgr.adapters.shared_dir.files import delete, is_file, is_folder, read, write
from vm_mgr.adapters.shared_dir.folders import VmFolders
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.capacity import Room
from vm_mgr.model.storage import Consistency, Disk, DiskClient, DiskInfo, DiskKind, DiskTies, Snapshot
from vm_mgr.model.vm import VmName, VmSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from vm_mgr.model.saved_state import SavedState
    from vm_mgr.model.storage import ImageFile

__all__ = ["SharedDirectory"]

LITTLE = 1 << 20
# QEMU's io=native needs O_DIRECT, which only these cache modes have.
DIRECT = ("none", "directsync")


class SharedDirectory(VmFolders):
    """VMs as folders of a mounted directory."""

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
            path = self.folder(name) / layout.DEFINITION
            xml = read(path)
        if xml is None:
            message = f"{name} has no definition in {root}"
            raise VmMgrError(Kind.NOT_FOUND, message, hint=f"put the domain XML there: {path}")
        return xml

    def settings(self, name: VmName) -> VmSettings:
        """Read the settings."""
        return self.record(name).settings

    def uuids(self, read: Callable[[str], str], *, keep: bool = True) -> Mapping[VmName, str]:
        """Read the definitions that are not yet in the index."""
        with self.working("can't read the UUIDs of the VMs"):
            return uuids.known(self, read, keep=keep)

    def metadata(self, name: VmName) -> Mapping[str, str]:
        """Give the keys, the definition among them."""
        return {**self.record(name).keys, "xml": self.definition(name)}

    def change_settings(self, name: VmName, settings: VmSettings) -> None:
        """Replace the settings, add the user's own notes to the keys."""
        with self.working(f"can't describe {name}"):
            record = self.record(name)
            self.write_record(name, record.with_keys(settings.user_metadata)._replace(settings=settings))

    def describe(self, name: VmName, metadata: Mapping[str, str | None]) -> None:
        """Set and remove keys: the definition first, so that the other keys tell that it was written."""
        given = {key: value for key, value in metadata.items() if key != "xml"}
        xml = metadata.get("xml")
        with self.working(f"can't describe {name}"):
            folder, record = self.folder(name), self.record(name)
            if xml is not None:
                write(self.mount.files, folder / layout.DEFINITION, xml)
            if given:
                self.write_record(name, record.with_keys(given))

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
        """Recover what a killed creation left."""
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
            return [layout.disk_image(name, number) for number in self.numbers(name)]

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

    def next_disk(self, name: VmName) -> int:
        """Count the files."""
        with self.working(f"can't look at the disks of {name}"):
            self.folder(name)
            return disks.following(self, name)

    def make_disk(
        self,
        name: VmName,
        number: int,
        size_bytes: int,
        image: ImageFile | None,
        on_progress: Callable[[float], None],
    ) -> None:
        """Make a file in the folder of what is being made."""
        with self.working(f"can't make a disk for {name}"):
            self.folder(name)
            disks.make(self, name, number, size_bytes, image, on_progress)

    def place_disk(self, name: VmName, number: int) -> None:
        """Put it into the VM's folder."""
        with self.working(f"can't give {name} its new disk"):
            disks.place(self, name, number)

    def drop_disk(self, name: VmName, number: int) -> None:
        """Remove the file."""
        with self.working(f"can't remove disk {number} of {name}"):
            disks.drop(self, name, number)

    def disk_ties(self, name: VmName, number: int) -> DiskTies:
        """Name the snapshots in the file."""
        with self.working(f"can't look at disk {number} of {name}"):
            return disks.ties(self, name, number)

    def flatten(self, name: VmName, image: str, on_progress: Callable[[float], None]) -> None:
        """Do nothing: a clone is a whole file from the start."""

    def room(self) -> Room:
        """Ask the file system."""
        with self.working("can't see how much room there is"):
            seen = os.statvfs(self.mount.root)
            return Room(seen.f_blocks * seen.f_frsize, seen.f_bavail * seen.f_frsize)

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

    def regrade(self, name: VmName, snapshot: str, consistency: Consistency) -> None:
        """Correct its entry."""
        with self.working(f"can't describe the snapshot {snapshot} of {name}"):
            snapshots.regrade(self, name, snapshot, consistency)

    def drop_snapshot(self, name: VmName, snapshot: str) -> None:
        """Delete one from every disk."""
        with self.working(f"can't remove the snapshot {snapshot} of {name}"):
            snapshots.drop(self, name, snapshot)

    def roll_back(self, name: VmName, snapshot: str) -> None:
        """Take every disk back."""
        with self.working(f"can't roll {name} back to {snapshot}"):
            snapshots.roll_back(self, name, snapshot)

    def prepare_state(self, name: VmName, size_bytes: int) -> str:
        """Look for room."""
        with self.working(f"can't begin to save the memory of {name}"):
            return saved_states.begin(self, name, size_bytes)

    def store_state(
        self, name: VmName, state: SavedState, on_progress: Callable[[float], None]
    ) -> SavedState:
        """Have the file on the disk."""
        with self.working(f"can't store the memory of {name}"):
            return saved_states.keep(self, name, state, on_progress)

    def commit_state(self, name: VmName, state: SavedState) -> None:
        """Write beside it what it is."""
        with self.working(f"can't finish the saved memory of {name}"):
            saved_states.finish(self, name, state)

    def saved_state(self, name: VmName) -> SavedState | None:
        """Look for the files."""
        with self.working(f"can't look for the saved memory of {name}"):
            return saved_states.found(self, name)

    def disk_fingerprint(self, name: VmName) -> str:
        """Describe the disks' files."""
        with self.working(f"can't look at the disks of {name}"):
            return saved_states.disk_fingerprint(self, name)

    def consume_state(self, name: VmName) -> None:
        """Rename what says that it is complete."""
        with self.working(f"can't record the use of the saved memory of {name}"):
            saved_states.take(self, name)

    def load_state(self, name: VmName, state: SavedState, on_progress: Callable[[float], None]) -> str:
        """Read the file and compare."""
        with self.working(f"can't read the saved memory of {name}"):
            return saved_states.fetch(self, name, state, on_progress)

    def delete_state(self, name: VmName) -> None:
        """Remove the files."""
        with self.working(f"can't remove the saved memory of {name}"):
            saved_states.drop(self, name)

    def full(self, name: VmName) -> str:
        """Ask the file system, which counts the quota of a folder, too."""
        with self.working(f"can't ask for room for {name}"):
            found = os.statvfs(self.folder(name))
        return "" if found.f_bavail * found.f_frsize >= LITTLE else f"{self.mount.root} is full"

    def holders(self, images: Sequence[str]) -> list[DiskClient]:
        """Name the disks that some QEMU has open; by which node, a shared file system tells nobody.

        That its locks reach across nodes is up to the file system. The second bar is libvirt's lock manager:
        virtlockd, on every node, holds a lease on each disk for as long as the VM runs.
        """
        with self.working("can't see who has the disks open") as root:
            paths = {image: layout.image_file(root, image) for image in images}
            present = {image: path for image, path in paths.items() if is_file(path)}
            return [DiskClient(image, "") for image, path in present.items() if self.qcow2.look(path).in_use]

    def evict(self, holder: DiskClient) -> None:
        """Leave it: locks end with their node, by fencing."""

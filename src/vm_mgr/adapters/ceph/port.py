"""Meet the storage port with RBD images, groups and image metadata."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from vm_mgr.adapters.ceph import disks, removal, saved_states, snapshots, staging, usage, uuids
from vm_mgr.adapters.ceph.flattening import flatten
from vm_mgr.adapters.ceph.fullness import fullness
from vm_mgr.adapters.ceph.images import describe_image
from vm_mgr.adapters.ceph.layout import SNAPSHOT, disk_image, read_settings, settings_keys, write_settings
from vm_mgr.adapters.ceph.pool import Pool
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import Disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vm_mgr.model.capacity import Room
    from vm_mgr.model.saved_state import SavedState
    from vm_mgr.model.storage import Consistency, DiskInfo, DiskTies, ImageFile, Snapshot
    from vm_mgr.model.vm import VmName, VmSettings

__all__ = ["CephStorage"]


class CephStorage(Pool):
    """VMs as RBD groups; the definition in the system disk's metadata."""

    def exists(self, name: VmName) -> bool:
        """Look for the group."""
        return name in self.names()

    def definition(self, name: VmName) -> str:
        """Read the domain XML that is started."""
        try:
            return self.metadata(name)["xml"]
        except KeyError as error:
            message = f"{name} has no definition in Ceph"
            hint = f"look: rbd image-meta list {self.connection.pool}/system_{name}"
            raise VmMgrError(Kind.NOT_FOUND, message, hint=hint) from error

    def settings(self, name: VmName) -> VmSettings:
        """Read the settings."""
        return read_settings(self.metadata(name))

    def uuids(self, read: Callable[[str], str], *, keep: bool = True) -> Mapping[VmName, str]:
        """Read the definitions that are not yet in the index."""
        return uuids.known(self, lambda name: read(self.definition(name)), keep=keep)

    def disk(self, name: VmName, number: int, bus: str | None) -> Disk:
        """Say how a domain reaches a disk."""
        return Disk(
            f"{self.connection.pool}/{disk_image(name, number)}", bus=bus or "virtio", cache=self.cache
        )

    @contextmanager
    def stage(self, name: VmName) -> Iterator[staging.StagedImages]:
        """Begin a VM under temporary names."""
        staged = staging.StagedImages(self, name)
        try:
            yield staged
        finally:
            staged.close()

    def unstage(self, name: VmName) -> bool:
        """Recover what a killed creation left."""
        return staging.unstage(self, name)

    def change_settings(self, name: VmName, settings: VmSettings) -> None:
        """Write all keys of the settings anew."""
        kept = {**dict.fromkeys(settings_keys()), **settings.user_metadata, **write_settings(settings)}
        self.describe(name, kept)

    def rename(self, name: VmName, new: VmName) -> None:
        """Rename images and group."""
        removal.rename_vm(self, name, new)

    def remove(self, name: VmName) -> bool:
        """Delete group and disks, and what an unfinished creation left."""
        return removal.remove_vm(self, name)

    def disks(self, name: VmName) -> list[DiskInfo]:
        """Describe the group's images."""
        images = self.images(name)
        with self.working(f"can't describe the disks of {name}") as (rbd, ioctx):
            return [describe_image(rbd, ioctx, image) for image in images]

    def resize(self, name: VmName, image: str, size_bytes: int) -> None:
        """Grow an image."""
        with (
            self.working(f"can't resize {image} of {name}") as (rbd, ioctx),
            rbd.Image(ioctx, image) as opened,
        ):
            opened.resize(size_bytes)

    def next_disk(self, name: VmName) -> int:
        """Count the group's images."""
        return disks.following(self, name)

    def make_disk(
        self,
        name: VmName,
        number: int,
        size_bytes: int,
        image: ImageFile | None,
        on_progress: Callable[[float], None],
    ) -> None:
        """Make an image under a temporary name."""
        disks.make(self, name, number, size_bytes, image, on_progress)

    def place_disk(self, name: VmName, number: int) -> None:
        """Give it its name and its group."""
        disks.place(self, name, number)

    def drop_disk(self, name: VmName, number: int) -> None:
        """Delete an image with its snapshots."""
        disks.drop(self, name, number)

    def disk_ties(self, name: VmName, number: int) -> DiskTies:
        """Name snapshots and clones of an image."""
        return disks.ties(self, name, number)

    def flatten(self, name: VmName, image: str, on_progress: Callable[[float], None]) -> None:  # noqa: ARG002
        """Flatten an image."""
        flatten(self, image, on_progress)

    def room(self) -> Room:
        """Ask the monitors."""
        return usage.room(self)

    def dependents(self, name: VmName) -> list[str]:
        """List the clones of the images."""
        with self.working(f"can't list the clones of {name}") as (rbd, ioctx):
            found = set()
            for image_name in self.images(name):
                try:
                    with rbd.Image(ioctx, image_name, read_only=True) as image:
                        found |= {
                            str(child["image"]) for child in image.list_children2() if not child["trash"]
                        }
                except rbd.ImageNotFound:
                    continue
        return sorted(found)

    def snapshots(self, name: VmName) -> list[Snapshot]:
        """List the system disk's snapshots."""
        return snapshots.listed(self, name)

    def take_snapshot(self, name: VmName, snapshot: str, consistency: Consistency) -> None:
        """Take one on every image."""
        snapshots.take(self, name, snapshot, consistency)

    def regrade(self, name: VmName, snapshot: str, consistency: Consistency) -> None:
        """Correct its key."""
        self.describe(name, {SNAPSHOT + snapshot: consistency.value})

    def drop_snapshot(self, name: VmName, snapshot: str) -> None:
        """Delete one from every image."""
        snapshots.drop(self, name, snapshot)

    def roll_back(self, name: VmName, snapshot: str) -> None:
        """Take every image back."""
        snapshots.roll_back(self, name, snapshot)

    def prepare_state(self, name: VmName, size_bytes: int) -> str:
        """Look for room."""
        return saved_states.begin(self, name, size_bytes)

    def store_state(
        self, name: VmName, state: SavedState, on_progress: Callable[[float], None]
    ) -> SavedState:
        """Copy the file into an image."""
        return saved_states.keep(self, name, state, on_progress)

    def commit_state(self, name: VmName, state: SavedState) -> None:
        """Rename the image."""
        saved_states.finish(self, name, state)

    def saved_state(self, name: VmName) -> SavedState | None:
        """Look for the image."""
        return saved_states.found(self, name)

    def disk_fingerprint(self, name: VmName) -> str:
        """Describe the images."""
        return saved_states.disk_fingerprint(self, name)

    def consume_state(self, name: VmName) -> None:
        """Rename the image."""
        saved_states.take(self, name)

    def load_state(self, name: VmName, state: SavedState, on_progress: Callable[[float], None]) -> str:
        """Copy the image into a file."""
        return saved_states.fetch(self, name, state, on_progress)

    def delete_state(self, name: VmName) -> None:
        """Delete the image."""
        saved_states.drop(self, name)

    def full(self, name: VmName) -> str:  # noqa: ARG002 - the same for every VM
        """Ask for the flags that keep a client's writes waiting, of the cluster and of the pool."""
        return fullness(self.connection)

"""Meet the storage port with RBD images, groups and image metadata."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.ceph.connection import Connection, failed, load_rados, load_rbd, translated
from vm_mgr.adapters.ceph.patience import Patience
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.reports import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from vm_mgr.adapters.ceph.listing import Listing
    from vm_mgr.adapters.ceph.staging import StagedImages
    from vm_mgr.model.capacity import Room
    from vm_mgr.model.saved_state import SavedState
    from vm_mgr.model.storage import Consistency, Disk, DiskClient, DiskInfo, DiskTies, ImageFile, Snapshot
    from vm_mgr.model.vm import VmName, VmSettings
    from vm_mgr.ports.clock import Clock
    from vm_mgr.ports.runner import Runner
    from vm_mgr.reports import Say

__all__ = ["CephStorage"]


class CephStorage:
    """VMs as RBD groups; the definition in the system disk's metadata."""

    def __init__(
        self,
        connection: Connection,
        runner: Runner,
        clock: Clock,
        *,
        cache: str = "writeback",
        listing: Listing | None = None,
        spool: Path | None = None,
        say: Say = silent,
    ) -> None:
        """spool is a folder of this node through which guests' memory passes to and from Ceph."""
        self.patience = Patience(say)
        self.connection = connection
        self.runner = runner
        self.clock = clock
        self.cache = cache
        self.listing = listing
        self._spool = spool

    def names(self) -> set[VmName]:
        """List the groups, or take the list that was begun earlier."""
        listing, self.listing = self.listing, None
        if listing is not None:
            return listing.names()
        from vm_mgr.adapters.ceph.listing import group_names  # noqa: PLC0415 - not for `status`

        return group_names(self.connection)

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
        from vm_mgr.adapters.ceph.layout import read_settings  # noqa: PLC0415 - not for `list`

        return read_settings(self.metadata(name))

    def definitions(self) -> Mapping[VmName, str]:
        """Read every VM's domain XML."""
        found = {}
        for name in self.names():
            try:
                found[name] = self.definition(name)
            except VmMgrError as error:
                if error.kind is not Kind.NOT_FOUND:
                    raise
        return found

    def metadata(self, name: VmName) -> dict[str, str]:
        """Read all metadata of the system disk; raises NOT_FOUND where there is no such disk."""
        from vm_mgr.adapters.ceph.metadata import read_all  # noqa: PLC0415 - not for `list`

        image_name = f"system_{name}"
        with self.reading(f"can't read {image_name}") as ioctx:
            found = read_all(ioctx, image_name)
        if found is None:
            message = f"{name} has no disk {image_name} in Ceph"
            raise VmMgrError(Kind.NOT_FOUND, message, hint="see the VMs: vm-mgr list")
        return found

    def disk(self, name: VmName, number: int, bus: str | None) -> Disk:
        """Say how a domain reaches a disk."""
        from vm_mgr.adapters.ceph.layout import disk_image  # noqa: PLC0415
        from vm_mgr.model.storage import Disk  # noqa: PLC0415

        return Disk(
            f"{self.connection.pool}/{disk_image(name, number)}", bus=bus or "virtio", cache=self.cache
        )

    @contextmanager
    def stage(self, name: VmName) -> Iterator[StagedImages]:
        """Begin a VM under temporary names."""
        from vm_mgr.adapters.ceph.staging import StagedImages  # noqa: PLC0415

        staged = StagedImages(self, name)
        try:
            yield staged
        finally:
            staged.close()

    def unstage(self, name: VmName) -> bool:
        """Recover what a killed creation left."""
        from vm_mgr.adapters.ceph import staging  # noqa: PLC0415

        return staging.unstage(self, name)

    def change_settings(self, name: VmName, settings: VmSettings) -> None:
        """Write all keys of the settings anew."""
        from vm_mgr.adapters.ceph.layout import settings_keys, write_settings  # noqa: PLC0415

        kept = {**dict.fromkeys(settings_keys()), **settings.user_metadata, **write_settings(settings)}
        self.describe(name, kept)

    def describe(self, name: VmName, metadata: Mapping[str, str | None]) -> None:
        """Set and remove keys of the system disk's metadata."""
        from vm_mgr.adapters.ceph.metadata import write_changes  # noqa: PLC0415

        present = self.metadata(name)
        with (
            self.working(f"can't describe {name}") as (rbd, ioctx),
            rbd.Image(ioctx, f"system_{name}") as image,
        ):
            write_changes(image, present, metadata)

    def rename(self, name: VmName, new: VmName) -> None:
        """Rename images and group."""
        from vm_mgr.adapters.ceph import removal  # noqa: PLC0415

        removal.rename_vm(self, name, new)

    def remove(self, name: VmName) -> bool:
        """Delete group and disks, and what an unfinished creation left."""
        from vm_mgr.adapters.ceph import removal  # noqa: PLC0415

        return removal.remove_vm(self, name)

    def images(self, name: VmName) -> list[str]:
        """List the group's images, the system disk first; it is always among them."""
        from vm_mgr.adapters.ceph.layout import disk_number  # noqa: PLC0415

        with self.working(f"can't list the disks of {name}") as (rbd, ioctx):
            try:
                members = [str(member["name"]) for member in rbd.Group(ioctx, name).list_images()]
            except rbd.ObjectNotFound:
                members = []
        last = len(members)
        return sorted(
            {f"system_{name}", *members},
            key=lambda i: (n if (n := disk_number(name, i)) is not None else last, i),
        )

    def disks(self, name: VmName) -> list[DiskInfo]:
        """Describe the group's images."""
        from vm_mgr.adapters.ceph.images import describe_image  # noqa: PLC0415

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
        from vm_mgr.adapters.ceph import disks  # noqa: PLC0415

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
        from vm_mgr.adapters.ceph import disks  # noqa: PLC0415

        disks.make(self, name, number, size_bytes, image, on_progress)

    def place_disk(self, name: VmName, number: int) -> None:
        """Give it its name and its group."""
        from vm_mgr.adapters.ceph import disks  # noqa: PLC0415

        disks.place(self, name, number)

    def drop_disk(self, name: VmName, number: int) -> None:
        """Delete an image with its snapshots."""
        from vm_mgr.adapters.ceph import disks  # noqa: PLC0415

        disks.drop(self, name, number)

    def disk_ties(self, name: VmName, number: int) -> DiskTies:
        """Name snapshots and clones of an image."""
        from vm_mgr.adapters.ceph import disks  # noqa: PLC0415

        return disks.ties(self, name, number)

    def flatten(self, name: VmName, image: str, on_progress: Callable[[float], None]) -> None:  # noqa: ARG002
        """Flatten an image."""
        from vm_mgr.adapters.ceph.flattening import flatten  # noqa: PLC0415

        flatten(self, image, on_progress)

    def room(self) -> Room:
        """Ask the monitors."""
        from vm_mgr.adapters.ceph import usage  # noqa: PLC0415

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
        from vm_mgr.adapters.ceph import snapshots  # noqa: PLC0415

        return snapshots.listed(self, name)

    def take_snapshot(self, name: VmName, snapshot: str, consistency: Consistency) -> None:
        """Take one on every image."""
        from vm_mgr.adapters.ceph import snapshots  # noqa: PLC0415

        snapshots.take(self, name, snapshot, consistency)

    def regrade(self, name: VmName, snapshot: str, consistency: Consistency) -> None:
        """Correct its key."""
        from vm_mgr.adapters.ceph.layout import SNAPSHOT  # noqa: PLC0415

        self.describe(name, {SNAPSHOT + snapshot: consistency.value})

    def drop_snapshot(self, name: VmName, snapshot: str) -> None:
        """Delete one from every image."""
        from vm_mgr.adapters.ceph import snapshots  # noqa: PLC0415

        snapshots.drop(self, name, snapshot)

    def roll_back(self, name: VmName, snapshot: str) -> None:
        """Take every image back."""
        from vm_mgr.adapters.ceph import snapshots  # noqa: PLC0415

        snapshots.roll_back(self, name, snapshot)

    @property
    def spool(self) -> Path:
        """Where guests' memory passes through."""
        if self._spool is None:
            hint = "this is a program of another kind; nothing on a node can be without it"
            raise VmMgrError(Kind.NOT_SUPPORTED, "no folder for guests' memory is known here", hint=hint)
        return self._spool

    def prepare_state(self, name: VmName, size_bytes: int) -> str:
        """Look for room."""
        from vm_mgr.adapters.ceph import saved_states  # noqa: PLC0415

        return saved_states.begin(self, name, size_bytes)

    def store_state(
        self, name: VmName, state: SavedState, on_progress: Callable[[float], None]
    ) -> SavedState:
        """Copy the file into an image."""
        from vm_mgr.adapters.ceph import saved_states  # noqa: PLC0415

        return saved_states.keep(self, name, state, on_progress)

    def commit_state(self, name: VmName, state: SavedState) -> None:
        """Rename the image."""
        from vm_mgr.adapters.ceph import saved_states  # noqa: PLC0415

        saved_states.finish(self, name, state)

    def saved_state(self, name: VmName) -> SavedState | None:
        """Look for the image."""
        from vm_mgr.adapters.ceph import saved_states  # noqa: PLC0415

        return saved_states.found(self, name)

    def disk_fingerprint(self, name: VmName) -> str:
        """Describe the images."""
        from vm_mgr.adapters.ceph import saved_states  # noqa: PLC0415

        return saved_states.disk_fingerprint(self, name)

    def consume_state(self, name: VmName) -> None:
        """Rename the image."""
        from vm_mgr.adapters.ceph import saved_states  # noqa: PLC0415

        saved_states.take(self, name)

    def load_state(self, name: VmName, state: SavedState, on_progress: Callable[[float], None]) -> str:
        """Copy the image into a file."""
        from vm_mgr.adapters.ceph import saved_states  # noqa: PLC0415

        return saved_states.fetch(self, name, state, on_progress)

    def delete_state(self, name: VmName) -> None:
        """Delete the image."""
        from vm_mgr.adapters.ceph import saved_states  # noqa: PLC0415

        saved_states.drop(self, name)

    def full(self, name: VmName) -> str:  # noqa: ARG002 - the same for every VM
        """Ask for the flags that keep a client's writes waiting, of the cluster and of the pool."""
        from vm_mgr.adapters.ceph.fullness import fullness  # noqa: PLC0415

        return fullness(self.connection)

    def holders(self, images: Sequence[str]) -> list[DiskClient]:
        """Read watchers and locks; reading needs no watch of our own."""
        from vm_mgr.adapters.ceph import holders  # noqa: PLC0415

        with self.working("can't see who has the disks open") as (rbd, ioctx):
            return [holder for image in images for holder in holders.holders(rbd, ioctx, image)]

    def evict(self, holder: DiskClient) -> None:
        """Blocklist a dead client and break its locks."""
        from vm_mgr.adapters.ceph import holders  # noqa: PLC0415

        with self.working(f"can't blocklist {holder.address}") as (rbd, ioctx):
            holders.evict(rbd, self.connection.cluster, ioctx, holder)

    @contextmanager
    def reading(self, doing: str) -> Iterator[Any]:
        """Give the pool alone, for what needs no image to be opened; translate errors."""
        ioctx = self.connection.ioctx
        rados = load_rados()
        try:
            yield ioctx
        except rados.Error as error:
            raise failed(doing, error) from error

    @contextmanager
    def working(self, doing: str) -> Iterator[tuple[Any, Any]]:
        """Give the rbd module and the pool; translate errors."""
        ioctx = self.connection.ioctx
        rbd = load_rbd()
        with translated(doing):
            yield self.patience.module(rbd, doing), ioctx

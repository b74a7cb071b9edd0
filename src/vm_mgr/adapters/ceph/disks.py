"""Describe and resize a VM's images, make further ones under temporary names, take them away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.adapters.ceph import commands, layout, usage
from vm_mgr.adapters.ceph.fullness import fullness
from vm_mgr.adapters.ceph.images import describe_image, removal_begun, remove_image, value_of
from vm_mgr.adapters.ceph.removal import take_out
from vm_mgr.adapters.ceph.staging import members, run_copy, target, unstage
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import CEPH_SECRET, Disk, DiskKind, DiskTies, NetworkAccess, disk_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_mgr.adapters.ceph.pool import Pool
    from vm_mgr.model.capacity import Room
    from vm_mgr.model.storage import DiskInfo, ImageFile
    from vm_mgr.model.vm import VmName

__all__ = ["CephDisks"]

COUNT = "_additional_disks"
# The user and the secret of libvirt on every node.
ACCESS = NetworkAccess("rbd", "libvirt", "ceph", CEPH_SECRET)


class CephDisks:
    """Images of VMs, each in its VM's group."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def of(self, name: VmName) -> list[DiskInfo]:
        """Describe the group's images."""
        images = self.pool.images(name)
        with self.pool.working(f"can't describe the disks of {name}") as (rbd, ioctx):
            return [describe_image(rbd, ioctx, image) for image in images]

    def locate(self, name: VmName, number: int, bus: str | None) -> Disk:
        """Name the image."""
        return Disk(
            f"{self.pool.connection.pool}/{disk_image(name, number)}",
            kind=DiskKind.NETWORK,
            format="raw",
            bus=bus or "",
            cache=self.pool.cache,
            access=ACCESS,
        )

    def resize(self, name: VmName, image: str, size_bytes: int) -> None:
        """Grow an image."""
        with (
            self.pool.working(f"can't resize {image} of {name}") as (rbd, ioctx),
            rbd.Image(ioctx, image) as opened,
        ):
            opened.resize(size_bytes)

    def next_number(self, name: VmName) -> int:
        """Count the disks; refuse gaps, members with names of their own, and an image that is in the way."""
        images, pool = self.pool.images(name), self.pool.connection.pool
        if images != [disk_image(name, number) for number in range(len(images))]:
            message = f"the disks of {name} are not numbered without gaps: {', '.join(images)}"
            hint = f"see them: rbd group image list {pool}/{name}"
            raise VmMgrError(Kind.WRONG_STATE, message, hint=hint)
        image = disk_image(name, len(images))
        if removal_begun(self.pool, image):
            remove_image(self.pool, image)  # left by a removal that was killed
        with self.pool.working("can't list the disks in Ceph") as (rbd, ioctx):
            if image in rbd.RBD().list(ioctx):
                hint = f"if nobody needs it: rbd rm {pool}/{image}"
                raise VmMgrError(Kind.EXISTS, f"Ceph has a disk {image} that belongs to no VM", hint=hint)
        return len(images)

    def make(
        self,
        name: VmName,
        number: int,
        size_bytes: int,
        image: ImageFile | None,
        on_progress: Callable[[float], None],
    ) -> None:
        """Make an image that is marked as ours to delete, until it is in the VM's group."""
        unstage(self.pool, name)
        new = layout.new_image(name, number)
        with self.pool.working(f"can't create a disk of {name}") as (rbd, ioctx):
            rbd.RBD().create(ioctx, new, size_bytes)
            with rbd.Image(ioctx, new) as made:
                made.metadata_set(layout.UNFINISHED, layout.REMOVING)
        if image is not None:
            argv = commands.convert(image.source, image.format, target(self.pool, new))
            run_copy(self.pool, argv, on_progress, image.path, into=new)

    def place(self, name: VmName, number: int) -> None:
        """Rename, join the group, forget the intent, count; each step finds out whether it was done."""
        new, final = layout.new_image(name, number), disk_image(name, number)
        with self.pool.working(f"can't give {name} its new disk") as (rbd, ioctx):
            if new in rbd.RBD().list(ioctx):
                rbd.RBD().rename(ioctx, new, final)
            group = rbd.Group(ioctx, name)
            if final not in members(group):
                group.add_image(ioctx, final)
            with rbd.Image(ioctx, final) as image:
                if value_of(image, layout.UNFINISHED):
                    image.metadata_remove(layout.UNFINISHED)
        self.pool.describe(name, {COUNT: str(number)})

    def drop(self, name: VmName, number: int) -> None:
        """Take it out of the group, which leaves it marked as ours to delete, and delete it."""
        image = disk_image(name, number)
        with self.pool.working(f"can't look for {image}") as (rbd, ioctx):
            group = rbd.Group(ioctx, name)
            if image in members(group):
                take_out(self.pool, group, image)
        if removal_begun(self.pool, image):
            remove_image(self.pool, image)
        self.pool.describe(name, {COUNT: str(number - 1) if number > 1 else None})

    def ties(self, name: VmName, number: int) -> DiskTies:
        """Read the snapshots that people or groups have, and the clones."""
        image_name = disk_image(name, number)
        if image_name not in self.pool.images(name):
            hint = f"see them: rbd group image list {self.pool.connection.pool}/{name}"
            raise VmMgrError(Kind.NOT_FOUND, f"{name} has no disk {number}", hint=hint)
        with (
            self.pool.working(f"can't look at {image_name}") as (rbd, ioctx),
            rbd.Image(ioctx, image_name, read_only=True) as image,
        ):
            kinds = (rbd.RBD_SNAP_NAMESPACE_TYPE_USER, rbd.RBD_SNAP_NAMESPACE_TYPE_GROUP)
            kept = [str(one["name"]) for one in image.list_snaps() if one.get("namespace", 0) in kinds]
            clones = {str(child["image"]) for child in image.list_children2() if not child["trash"]}
        return DiskTies(tuple(kept), tuple(sorted(clones)))

    def room(self) -> Room:
        """Ask the monitors."""
        return usage.room(self.pool)

    def full(self, name: VmName) -> str:  # noqa: ARG002 - the same for every VM
        """Ask for the flags that keep a client's writes waiting, of the cluster and of the pool."""
        return fullness(self.pool.connection)

"""Delete and rename a VM's images and group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.ceph import layout
from vm_mgr.adapters.ceph.images import DEAD_CLIENT_S, removal_begun, remove_image
from vm_mgr.adapters.ceph.saved_memory import CephSavedMemory
from vm_mgr.adapters.ceph.staging import unstage
from vm_mgr.model.storage import disk_image

if TYPE_CHECKING:
    from vm_mgr.adapters.ceph.pool import Pool
    from vm_mgr.model.vm import VmName

__all__ = ["remove_vm", "rename_vm", "take_out"]


def remove_vm(pool: Pool, name: VmName) -> bool:
    """Delete image by image, the definition's last, then the group; tell whether there was anything.

    Each is marked before it leaves the group, so that one that a kill leaves behind is known as ours.
    """
    removed, saved_memory = unstage(pool, name), CephSavedMemory(pool)
    if saved_memory.of(name) is not None:
        saved_memory.delete(name, patience_s=DEAD_CLIENT_S)
        removed = True
    with pool.working(f"can't remove {name}") as (rbd, ioctx):
        known = name in rbd.RBD().group_list(ioctx)
        group = rbd.Group(ioctx, name) if known else None
        members = [str(member["name"]) for member in group.list_images()] if group else []
        if group:
            for snapshot in list(group.list_snaps()):
                group.remove_snap(snapshot["name"])
        named = [image for image in rbd.RBD().list(ioctx) if layout.disk_number(name, image) is not None]
    left = [image for image in named if removal_begun(pool, image)]
    system = disk_image(name, 0)
    for image in sorted({*members, *left}, key=lambda image: (image == system, image)):
        if group and image in members:
            take_out(pool, group, image)
        removed |= remove_image(pool, image)
    if group:
        with pool.working(f"can't remove the group {name}") as (rbd, ioctx):
            rbd.RBD().group_remove(ioctx, name)
    return removed or known


def rename_vm(pool: Pool, name: VmName, new: VmName) -> None:
    """Rename image by image, then the group; members with names of their own keep them."""
    saved_memory = CephSavedMemory(pool)
    if saved_memory.of(name) is not None:  # of no use, or the operation would have refused
        saved_memory.delete(name, patience_s=DEAD_CLIENT_S)
    with pool.working(f"can't rename {name}") as (rbd, ioctx):
        for image in list(rbd.RBD().list(ioctx)):
            number = layout.disk_number(name, image)
            if number is not None:
                rbd.RBD().rename(ioctx, image, disk_image(new, number))
        if name in rbd.RBD().group_list(ioctx):
            rbd.RBD().group_rename(ioctx, name, new)


def take_out(pool: Pool, group: Any, image_name: str) -> None:
    """Take an image out of its group, after marking it as ours to delete."""
    with pool.working(f"can't take {image_name} out of its group") as (rbd, ioctx):
        with rbd.Image(ioctx, image_name) as image:
            image.metadata_set(layout.UNFINISHED, layout.REMOVING)
        group.remove_image(ioctx, image_name)

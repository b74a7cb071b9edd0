"""Delete a VM's images and group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.ceph import layout
from vm_mgr.errors import VmMgrError

if TYPE_CHECKING:
    from vm_mgr.adapters.ceph.port import CephStorage
    from vm_mgr.model.vm import VmName

__all__ = ["image_exists", "is_unfinished", "remove_image", "remove_vm"]

DEAD_CLIENT_S = 35.0


def remove_vm(storage: CephStorage, name: VmName) -> bool:
    """Delete the group, its images, and the images of an unfinished creation; tell whether there were any."""
    images = storage.images(name)
    removed = storage.exists(name)
    with storage.working(f"can't remove the group {name}") as (rbd, ioctx):
        if name in rbd.RBD().group_list(ioctx):
            _dissolve(rbd.Group(ioctx, name), ioctx)
    for image in images:
        if image != layout.system_image(name) or _ours(storage, name):
            removed |= remove_image(storage, image)
    for image in (layout.new_image(name), layout.old_image(name)):
        removed |= remove_image(storage, image)
    with storage.working(f"can't remove the group {name}") as (rbd, ioctx):
        if name in rbd.RBD().group_list(ioctx):
            rbd.RBD().group_remove(ioctx, name)
    return removed


def remove_image(storage: CephStorage, image_name: str) -> bool:
    """Delete an image with its snapshots; wait while a client that has died still counts as watching.

    Tells whether it was there.
    """
    deadline = storage.clock.monotonic() + DEAD_CLIENT_S
    with storage.working(f"can't remove the disk {image_name}") as (rbd, ioctx):
        if not image_exists(rbd, ioctx, image_name):
            return False
        _remove_snapshots(rbd, ioctx, image_name)
        while True:
            try:
                rbd.RBD().remove(ioctx, image_name)
            except rbd.ImageNotFound:
                return False
            except rbd.ImageBusy:
                if storage.clock.monotonic() > deadline:
                    raise
                storage.clock.sleep(1)
            else:
                return True


def image_exists(rbd: Any, ioctx: Any, image_name: str) -> bool:
    """Tell whether the pool has an image of this name."""
    try:
        rbd.Image(ioctx, image_name, read_only=True).close()
    except rbd.ImageNotFound:
        return False
    return True


def is_unfinished(storage: CephStorage, image_name: str) -> bool:
    """Tell whether an image carries the mark of a creation that did not end."""
    with storage.working(f"can't read {image_name}") as (rbd, ioctx):
        try:
            with rbd.Image(ioctx, image_name, read_only=True) as image:
                image.metadata_get(layout.UNFINISHED)
        except (rbd.ImageNotFound, KeyError):
            return False
    return True


def _ours(storage: CephStorage, name: VmName) -> bool:
    """Tell whether a system disk belongs to a VM; a disk that only has the right name stays."""
    try:
        return bool(storage.metadata(name))
    except VmMgrError:
        return False


def _dissolve(group: Any, ioctx: Any) -> None:
    for snapshot in list(group.list_snaps()):
        group.remove_snap(snapshot["name"])
    for member in list(group.list_images()):
        group.remove_image(ioctx, member["name"])


def _remove_snapshots(rbd: Any, ioctx: Any, image_name: str) -> None:
    with rbd.Image(ioctx, image_name) as image:
        for snapshot in list(image.list_snaps()):
            if image.is_protected_snap(snapshot["name"]):
                image.unprotect_snap(snapshot["name"])
            image.remove_snap(snapshot["name"])

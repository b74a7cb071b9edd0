"""Do what single images need: read, describe, delete."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.ceph import layout
from vm_mgr.adapters.ceph.nvram import image_id, remove_object
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.interruption import current
from vm_mgr.model.storage import DiskInfo
from vm_mgr.reports import Progress

if TYPE_CHECKING:
    from vm_mgr.adapters.ceph.pool import Pool

__all__ = [
    "DEAD_CLIENT_S",
    "describe_image",
    "key_of",
    "read_key",
    "removal_begun",
    "remove_image",
    "value_of",
]

DEAD_CLIENT_S = 35.0
POLL_S = 0.5
DELETE_END_S = 1.0


def remove_image(pool: Pool, image_name: str, *, patience_s: float = DEAD_CLIENT_S) -> bool:
    """Delete an image with its snapshots; wait while a client that has died still counts as watching.

    Tells whether it was there.
    """
    deadline = pool.clock.monotonic() + patience_s
    ident = image_id(pool, image_name)
    with pool.working(f"can't remove the disk {image_name}") as (rbd, ioctx):
        while True:
            try:
                with suppress(rbd.ImageNotFound):  # a killed removal may have left the name alone
                    _remove_snapshots(rbd, ioctx, image_name)
                _delete(pool, rbd, ioctx, image_name)
            except rbd.ImageNotFound:
                return False
            except rbd.ImageBusy:
                if pool.clock.monotonic() > deadline:
                    raise
                if current.impatient:
                    message = f"{image_name} has a client, which may be dead"
                    raise VmMgrError(Kind.TRY_LATER, message, hint="vm-mgr repair") from None
                text = f"waiting until Ceph forgets the client that had {image_name} open"
                pool.patience.say(Progress(text))
                pool.clock.sleep(POLL_S)
            else:
                remove_object(pool, ident)
                return True


def _delete(pool: Pool, rbd: Any, ioctx: Any, image_name: str) -> None:
    """Have librbd delete it: that can only be left alone, and be done again from where it came to."""
    told = _Share()
    deleting = rbd.RBD().remove

    def delete() -> None:
        deleting(ioctx, image_name, on_progress=told)

    pool.patience.call(delete, f"can't delete {image_name}", fraction=told.fraction, end_s=DELETE_END_S)


class _Share:
    """What librbd tells of its progress."""

    def __init__(self) -> None:
        self.done, self.total = 0, 0

    def __call__(self, done: int, total: int) -> int:
        self.done, self.total = done, total
        return 0

    def fraction(self) -> float | None:
        return self.done / self.total if self.total else None


def removal_begun(pool: Pool, image_name: str) -> bool:
    """Tell an image that is marked as being removed, or of which a killed removal has left the name alone."""
    return key_of(pool, image_name, layout.UNFINISHED) in (layout.REMOVING, None)


def read_key(pool: Pool, image_name: str, key: str) -> str:
    """Read one key of an image's metadata; nothing where image or key are absent."""
    return key_of(pool, image_name, key) or ""


def key_of(pool: Pool, image_name: str, key: str) -> str | None:
    """Read one key of ours, empty where it is absent; None where there is no such image."""
    with pool.working(f"can't read {image_name}") as (rbd, ioctx):
        try:
            with rbd.Image(ioctx, image_name, read_only=True) as image:
                return value_of(image, key)
        except rbd.ImageNotFound:
            return None


def value_of(image: Any, key: str) -> str:
    """Read one key by its name, whatever else there is; metadata_list can't be trusted (metadata.py)."""
    try:
        return str(image.metadata_get(key))
    except KeyError:
        return ""


def describe_image(rbd: Any, ioctx: Any, image_name: str) -> DiskInfo:
    """Read an image's size and what it was cloned from."""
    with rbd.Image(ioctx, image_name, read_only=True) as image:
        try:
            parent = str(image.parent_info()[1])
        except rbd.ImageNotFound:
            parent = ""
        return DiskInfo(image_name, int(image.size()), parent=parent)


def _remove_snapshots(rbd: Any, ioctx: Any, image_name: str) -> None:
    with rbd.Image(ioctx, image_name) as image:
        for snapshot in list(image.list_snaps()):
            namespace = snapshot.get("namespace", 0)
            if namespace == rbd.RBD_SNAP_NAMESPACE_TYPE_TRASH:
                # Hidden, for clones; it goes with the last of them, unless librbd was hindered then.
                with suppress(rbd.ImageBusy):
                    image.remove_snap_by_id(snapshot["id"])
            if namespace != rbd.RBD_SNAP_NAMESPACE_TYPE_USER:
                continue  # held by clones; removing the image says so
            if image.is_protected_snap(snapshot["name"]):
                image.unprotect_snap(snapshot["name"])
            image.remove_snap(snapshot["name"])

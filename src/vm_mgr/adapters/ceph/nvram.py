"""Keep UEFI variables and TPM in an object beside a VM's system disk, now and at each snapshot.

The object has the disk's id in its name: so it follows a rename by itself, and a replacement has its own.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.ceph.connection import load_rados
from vm_mgr.model.storage import disk_image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vm_mgr.adapters.ceph.pool import Pool
    from vm_mgr.model.vm import VmName

__all__ = [
    "copy_key",
    "drop_key",
    "image_id",
    "key_of_snapshot",
    "read_nvram",
    "remove_object",
    "write_nvram",
]

OBJECT = "vm-mgr.nvram."
NOW = "now"
# rbd_id.IMAGE holds the id behind its length (src/librbd/ImageCtx.cc of Ceph).
ID = "rbd_id."


def read_nvram(pool: Pool, name: VmName, snapshot: str = "") -> bytes:
    """Give what is kept; empty for nothing."""
    with pool.reading(f"can't read the UEFI variables of {name}") as ioctx:
        return _values(ioctx, image_id(pool, disk_image(name, 0))).get(key_of_snapshot(snapshot), b"")


def write_nvram(pool: Pool, name: VmName, packed: bytes, image: str = "") -> None:
    """Replace what is kept now; image: the system disk that is being made."""
    ident = image_id(pool, image or disk_image(name, 0))
    with pool.reading(f"can't keep the UEFI variables of {name}") as ioctx:
        _set(ioctx, ident, {NOW: packed})


def copy_key(pool: Pool, name: VmName, source: str, to: str) -> None:
    """Have one state be another one too; where there is none nothing is changed."""
    ident = image_id(pool, disk_image(name, 0))
    with pool.reading(f"can't keep the UEFI variables of {name}") as ioctx:
        found = _values(ioctx, ident).get(source)
        if found is not None:
            _set(ioctx, ident, {to: found})


def drop_key(pool: Pool, name: VmName, key: str) -> None:
    """Remove a state; absent is fine."""
    rados, ident = load_rados(), image_id(pool, disk_image(name, 0))
    with (
        pool.reading(f"can't forget the UEFI variables of {name}") as ioctx,
        suppress(rados.ObjectNotFound),
        rados.WriteOpCtx() as operation,
    ):
        if _values(ioctx, ident):
            ioctx.remove_omap_keys(operation, (key,))
            ioctx.operate_write_op(operation, OBJECT + ident)


def key_of_snapshot(snapshot: str) -> str:
    """Name the state of a snapshot; that of now for an empty one.

    >>> key_of_snapshot(""), key_of_snapshot("now")
    ('now', 'snapshot now')
    """
    return f"snapshot {snapshot}" if snapshot else NOW


def image_id(pool: Pool, image: str) -> str:
    """Read an image's id, which it keeps through renames; empty for no image."""
    rados = load_rados()
    with pool.reading(f"can't read {image}") as ioctx:
        try:
            return str(bytes(ioctx.read(ID + image))[4:].decode())
        except rados.ObjectNotFound:
            return ""


def remove_object(pool: Pool, ident: str) -> None:
    """Remove all states of an image that is gone; absent is fine."""
    if not ident:
        return
    rados = load_rados()
    with pool.reading("can't remove UEFI variables") as ioctx, suppress(rados.ObjectNotFound):
        ioctx.remove_object(OBJECT + ident)


def _values(ioctx: Any, ident: str) -> Mapping[str, bytes]:
    rados = load_rados()
    if not ident:
        return {}
    with rados.ReadOpCtx() as operation:
        entries, _ = ioctx.get_omap_vals(operation, "", "", 10_000)
        try:
            ioctx.operate_read_op(operation, OBJECT + ident)
            return {str(key): bytes(value) for key, value in entries}
        except rados.ObjectNotFound:
            return {}


def _set(ioctx: Any, ident: str, values: Mapping[str, bytes]) -> None:
    rados = load_rados()
    with rados.WriteOpCtx() as operation:
        ioctx.set_omap(operation, tuple(values), tuple(values.values()))
        ioctx.operate_write_op(operation, OBJECT + ident)

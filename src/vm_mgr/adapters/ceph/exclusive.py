"""Keep what each VM has alone as the omap of one object, by the ids of their groups."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from vm_mgr.adapters.ceph.connection import load_rados
from vm_mgr.adapters.ceph.listing import group_ids, read_omap
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.exclusive_index import exclusives, refreshed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from vm_mgr.adapters.ceph.pool import Pool
    from vm_mgr.model.exclusive_index import Exclusives
    from vm_mgr.model.vm import VmName

__all__ = ["forget", "known"]

INDEX = "vm-mgr.exclusive"


def known(
    pool: Pool, read: Callable[[VmName], Iterable[tuple[str, str]]], *, keep: bool
) -> Mapping[VmName, Exclusives]:
    """Give all; read gives what a VM has alone, and is called for those that are not in the index."""

    def readable(name: VmName) -> Iterable[tuple[str, str]]:
        try:
            return read(name)
        except VmMgrError as error:
            if error.kind is not Kind.NOT_FOUND:
                raise
            return ()

    kept = read_omap(pool.connection, INDEX)
    fresh = refreshed(kept, group_ids(pool.connection), readable)
    if keep and fresh != kept:
        _write(pool, kept, fresh)
    return exclusives(fresh)


def forget(pool: Pool, name: VmName) -> None:
    """Have a VM's definition read again: a group keeps its id when that changes."""
    _write(pool, {name: ""}, {})


def _write(pool: Pool, kept: Mapping[str, str], fresh: Mapping[VmName, str]) -> None:
    """Change what has changed; two commands write the same. What can't be written is read anew."""
    rados = load_rados()
    new = {str(name): entry for name, entry in fresh.items() if kept.get(name) != entry}
    gone = tuple(sorted(kept.keys() - fresh.keys()))
    with suppress(rados.Error), rados.WriteOpCtx() as operation:
        if new:
            values = tuple(entry.encode() for entry in new.values())
            pool.connection.ioctx.set_omap(operation, tuple(new), values)
        if gone:
            pool.connection.ioctx.remove_omap_keys(operation, gone)
        pool.connection.ioctx.operate_write_op(operation, INDEX)

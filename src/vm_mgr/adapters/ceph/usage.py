"""See how much room the pool has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.capacity import Room

if TYPE_CHECKING:
    from vm_mgr.adapters.ceph.pool import Pool

__all__ = ["parse_room", "room"]


def room(pool: Pool) -> Room:
    """Ask for what the pool can take, its copies counted."""
    with pool.working("can't see how much room the pool has"):
        status, answer, words = pool.connection.cluster.mon_command('{"prefix": "df", "format": "json"}', b"")
    found = parse_room(json.loads(answer), pool.connection.pool) if status == 0 else None
    if found is None:
        message = f"Ceph does not report how much room the pool has: {words or status}"
        raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint="look: ceph df")
    return found


def parse_room(answer: dict[str, Any], pool: str) -> Room | None:
    """Read `ceph df`; what the pool could hold alone is what it can take, in proportion to all of Ceph.

    >>> pools = [{"name": "rbd", "stats": {"max_avail": 2 << 30, "stored": 1 << 30}}]
    >>> parse_room({"stats": {"total_bytes": 12 << 30, "total_avail_bytes": 6 << 30}, "pools": pools}, "rbd")
    Room(total_bytes=4294967296, free_bytes=2147483648)
    >>> parse_room({"pools": pools}, "rbd")
    Room(total_bytes=3221225472, free_bytes=2147483648)
    >>> parse_room({"pools": pools}, "vms")
    """
    for one in answer.get("pools", []):
        if one.get("name") == pool:
            free = int(one["stats"]["max_avail"])
            total = free + int(one["stats"].get("stored", 0))
            whole = answer.get("stats", {})
            if whole.get("total_avail_bytes"):
                total = max(total, free * int(whole["total_bytes"]) // int(whole["total_avail_bytes"]))
            return Room(total, free)
    return None

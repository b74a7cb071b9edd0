"""Tell whether Ceph keeps writes waiting because there is no room: it answers none of them with an error.

(Objecter::target_should_be_paused in Ceph's src/osdc/Objecter.cc; a pool at its quota has both flags.)
"""

import json

from vm_mgr.adapters.ceph.connection import Connection, translated

__all__ = ["fullness", "read_fullness"]

FULL = {"full", "full_quota"}


def fullness(connection: Connection) -> str:
    """Ask a monitor; nothing where it refuses to tell."""
    with translated("can't ask whether Ceph is full"):
        status, answer, _ = connection.cluster.mon_command('{"prefix": "osd dump", "format": "json"}', b"")
    return read_fullness(answer, connection.pool) if status == 0 else ""


def read_fullness(answer: bytes, pool: str) -> str:
    """Read the flags.

    >>> read_fullness(b'{"flags": "sortbitwise,full", "pools": []}', "rbd")
    'Ceph is full'
    >>> read_fullness(b'{"pools": [{"pool_name": "rbd", "flags_names": "full,full_quota"}]}', "rbd")
    'the pool rbd is full'
    >>> read_fullness(b'{"flags": "nearfull", "pools": [{"pool_name": "x", "flags_names": "full"}]}', "rbd")
    ''
    """
    try:
        told = json.loads(answer)
        pools = {str(one["pool_name"]): str(one.get("flags_names", "")) for one in told["pools"]}
        flags = str(told.get("flags", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    if FULL & set(flags.split(",")):
        return "Ceph is full"
    return f"the pool {pool} is full" if FULL & set(pools.get(pool, "").split(",")) else ""

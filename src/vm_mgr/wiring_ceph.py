"""Build the storage in Ceph; loaded with all of it when that is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.adapters.ceph.pool import Pool
from vm_mgr.adapters.ceph.port import CephStorage

if TYPE_CHECKING:
    from pathlib import Path

    from vm_mgr.adapters.ceph.connection import Connection
    from vm_mgr.config import CephSettings
    from vm_mgr.ports.clock import Clock
    from vm_mgr.ports.runner import Runner
    from vm_mgr.reports import Say

__all__ = ["ceph_storage"]


def ceph_storage(
    ceph: CephSettings, connection: Connection, runner: Runner, clock: Clock, *, spool: Path, say: Say
) -> CephStorage:
    """Give the storage; spool: where a guest's memory passes through."""
    return CephStorage(Pool(connection, runner, clock, cache=ceph.cache, spool=spool, say=say))

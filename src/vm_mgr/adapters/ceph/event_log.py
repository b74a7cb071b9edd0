"""Meet the event log port with the omap of one object of the pool."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from vm_mgr.adapters.ceph.connection import failed, load_rados
from vm_mgr.adapters.ceph.listing import read_omap
from vm_mgr.model.event import Event, read_event, write_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vm_mgr.adapters.ceph.connection import Connection

__all__ = ["KEEP", "CephEventLog"]

OBJECT = "vm-mgr.events"
KEEP = 4000
SLACK = 500  # how many more there are before it is likely that somebody has pruned


class CephEventLog:
    """The object vm-mgr.events; a key is the time in milliseconds, the node and something random."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def append(self, events: Sequence[Event]) -> None:
        """Set the keys in one operation."""
        if not events:
            return
        ioctx = self.connection.ioctx
        rados = load_rados()

        keys = tuple(f"{_start(event.when_utc)}-{event.node}-{secrets.token_hex(4)}" for event in events)
        values = tuple(write_event(event).encode() for event in events)
        try:
            with rados.WriteOpCtx() as operation:
                ioctx.set_omap(operation, keys, values)
                ioctx.operate_write_op(operation, OBJECT)
            if secrets.randbelow(SLACK) < len(events):  # nobody has to remember when it was done
                self._prune()
        except rados.Error as error:
            raise failed("can't keep what happened", error) from error

    def read(self, since_utc: float = 0.0) -> list[Event]:
        """Read the keys from a time on."""
        raw = read_omap(self.connection, OBJECT, after=_start(since_utc))
        found = [event for event in map(read_event, raw.values()) if event and event.when_utc >= since_utc]
        return sorted(found, key=lambda event: event.when_utc)

    def _prune(self) -> None:
        rados = load_rados()

        keys = sorted(read_omap(self.connection, OBJECT))
        old = tuple(keys[: max(0, len(keys) - KEEP)])
        if old:
            with rados.WriteOpCtx() as operation:
                self.connection.ioctx.remove_omap_keys(operation, old)
                self.connection.ioctx.operate_write_op(operation, OBJECT)


def _start(when_utc: float) -> str:
    """Begin a key; it sorts before every key of that millisecond.

    >>> _start(1.5)
    '00000000001500'
    """
    return f"{round(when_utc * 1000):014d}"

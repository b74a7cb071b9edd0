"""Choose what two resources of one cluster must not share: ports, minors, numbers of snapshots.

All of it is pure, and called inside of the transaction that writes the choice: so no two commands, on
whichever nodes, choose the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.adapters.drbd.record import Record, parse
from vm_mgr.errors import Kind, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["FIRST_MINOR", "free_minor", "free_port", "next_snapshot", "read_all"]

# Below it are those that people give by hand.
FIRST_MINOR = 100
LAST_MINOR = (1 << 20) - 1


def read_all(disks: Mapping[str, str]) -> dict[str, Record]:
    """Read all records; one that can't be read raises EXTERNAL_FAILURE."""
    return {key: parse(key, raw) for key, raw in disks.items()}


def free_port(records: Iterable[Record], first: int, last: int) -> int:
    """Give the lowest port that no record has; raises NO_RESOURCES.

    >>> free_port([], 7800, 7999)
    7800
    """
    taken = {one.port for one in records}
    free = next((port for port in range(first, last + 1) if port not in taken), None)
    if free is None:
        hint = "give a larger range: [drbd] ports in the configuration of all nodes"
        raise VmMgrError(Kind.NO_RESOURCES, f"all ports for DRBD are taken: {first}-{last}", hint=hint)
    return free


def free_minor(records: Iterable[Record], used: Iterable[int] = ()) -> int:
    """Give the lowest minor that neither a record nor, by hand, a node has.

    Snapshots name the logical volume that they are of: its minor stays taken as long as they are there.
    """
    taken = set(used)
    for one in records:
        taken |= {volume.minor for volume in one.volumes}
        taken |= {part.minor for snapshot in one.snapshots.values() for part in snapshot.parts}
    return next(minor for minor in range(FIRST_MINOR, LAST_MINOR) if minor not in taken)


def next_snapshot(record: Record) -> int:
    """Number a snapshot as no other one of the resource is.

    >>> from vm_mgr.adapters.drbd.record import State, Taken
    >>> record = Record(7800, "web1", State.PLACED, {}, "")
    >>> next_snapshot(record), next_snapshot(record.with_snapshot("a", Taken(4, ())))
    (1, 5)
    """
    return 1 + max((one.number for one in record.snapshots.values()), default=0)

"""Describe a DRBD resource as all nodes know it: the texts of the storage's records, by the resource's port.

The port names the resource (vm-mgr-7800), the minor each logical volume (drbd100). Neither has the name of a
VM, so a renamed VM keeps them.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.storage import Consistency, Snapshot
from vm_mgr.model.vm import VmName

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Part",
    "Record",
    "State",
    "Taken",
    "Volume",
    "device",
    "logical_volume",
    "parse",
    "render",
    "resource_name",
    "snapshot_volume",
]

FORMAT = 1


class State(StrEnum):
    """What a resource is: being made, a further disk being made, a VM's, or about to be erased."""

    NEW = "new"
    DISK = "disk"
    PLACED = "placed"
    OLD = "old"


class Volume(NamedTuple):
    """A disk of a VM; source: the logical volume that it is a thin copy of, empty for an empty disk."""

    number: int
    minor: int
    size_bytes: int
    source: str = ""


class Part(NamedTuple):
    """A volume as a snapshot has it."""

    minor: int
    size_bytes: int


class Taken(NamedTuple):
    """A snapshot: its number in the names of logical volumes; unfinished without a time."""

    number: int
    parts: tuple[Part, ...]
    taken_utc: float = 0.0
    consistency: Consistency = Consistency.UNKNOWN

    @property
    def finished(self) -> bool:
        """Tell a snapshot from one that is being taken or removed."""
        return self.taken_utc > 0


class Record(NamedTuple):
    """A resource: nodes → addresses, in the order that the resource file has them.

    serial grows with each change: by it a node knows whether its copy is new enough. two_primaries: both
    nodes may write, for the time of a live migration. pending: a node may not have what the record says yet.
    """

    port: int
    name: VmName
    state: State
    nodes: Mapping[NodeName, str]
    secret: str
    serial: int = 1
    volumes: tuple[Volume, ...] = ()
    snapshots: Mapping[str, Taken] = {}
    two_primaries: bool = False
    pending: bool = False

    @property
    def key(self) -> str:
        """Give its key among the records."""
        return str(self.port)

    def with_snapshot(self, name: str, taken: Taken | None) -> Record:
        """Give it with a snapshot, or without it."""
        others = {key: one for key, one in self.snapshots.items() if key != name}
        return self._replace(snapshots=others if taken is None else {**others, name: taken})

    def finished(self) -> list[Snapshot]:
        """List the snapshots that somebody may count on, the oldest first."""
        found = [
            Snapshot(key, one.taken_utc, one.consistency)
            for key, one in self.snapshots.items()
            if one.finished
        ]
        return sorted(found, key=lambda one: one.taken_utc)

    def volume(self, number: int) -> Volume | None:
        """Give a volume by its number."""
        return next((one for one in self.volumes if one.number == number), None)


def resource_name(port: int) -> str:
    """Name a resource for DRBD.

    >>> resource_name(7800)
    'vm-mgr-7800'
    """
    return f"vm-mgr-{port}"


def device(minor: int) -> str:
    """Name the device that QEMU opens."""
    return f"/dev/drbd{minor}"


def logical_volume(minor: int) -> str:
    """Name the logical volume below it.

    >>> logical_volume(100), snapshot_volume(100, 2)
    ('drbd100', 'drbd100.s2')
    """
    return f"drbd{minor}"


def snapshot_volume(minor: int, number: int) -> str:
    """Name the logical volume of a snapshot: by number, since LVM keeps some words for itself."""
    return f"{logical_volume(minor)}.s{number}"


def render(record: Record) -> str:
    """Write a record."""
    snapshots = {
        name: {
            "number": one.number,
            "parts": [list(part) for part in one.parts],
            "taken_utc": one.taken_utc,
            "consistency": one.consistency.value,
        }
        for name, one in record.snapshots.items()
    }
    whole = {
        "format": FORMAT,
        **record._asdict(),
        "state": record.state.value,
        "nodes": dict(record.nodes),
        "volumes": [list(one) for one in record.volumes],
        "snapshots": snapshots,
    }
    return json.dumps(whole, separators=(",", ":"))


def parse(key: str, raw: str) -> Record:
    """Read a record.

    Raises EXTERNAL_FAILURE for one that can't be read: what it names must not be taken for free.

    >>> record = Record(7800, VmName("web1"), State.PLACED, {NodeName("n1"): "192.0.2.1"}, "s")
    >>> parse("7800", render(record)) == record
    True
    """
    try:
        whole: dict[str, Any] = json.loads(raw)
        return Record(
            port=int(whole["port"]),
            name=VmName(str(whole["name"])),
            state=State(whole["state"]),
            nodes={NodeName(str(node)): str(address) for node, address in whole["nodes"].items()},
            secret=str(whole["secret"]),
            serial=int(whole["serial"]),
            volumes=tuple(
                Volume(int(number), int(minor), int(size), str(source))
                for number, minor, size, source in whole["volumes"]
            ),
            snapshots={str(name): _taken(one) for name, one in whole["snapshots"].items()},
            two_primaries=whole["two_primaries"] is True,
            pending=whole["pending"] is True,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"the record of the DRBD resource {resource_name_of(key)} can't be read: {error}"
        hint = (
            "look at it: crm_attribute --type crm_config --set-name vm-mgr-disks-drbd; or use a newer vm-mgr"
        )
        raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=hint) from error


def resource_name_of(key: str) -> str:
    """Name a resource by its key."""
    return f"vm-mgr-{key}"


def _taken(raw: Mapping[str, Any]) -> Taken:
    parts = tuple(Part(int(minor), int(size)) for minor, size in raw["parts"])
    return Taken(int(raw["number"]), parts, float(raw["taken_utc"]), Consistency(raw["consistency"]))

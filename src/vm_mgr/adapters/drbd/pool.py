"""What all parts of the storage on DRBD work with: the records, the pair of nodes, definitions."""

from __future__ import annotations

import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.drbd.allocation import free_minor, free_port, read_all
from vm_mgr.adapters.drbd.record import Record, State, Volume, render
from vm_mgr.adapters.drbd.steps import Step
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.resource import disk_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from vm_mgr.adapters.drbd.pair import Look, Pair
    from vm_mgr.model.cluster import NodeName
    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.clock import Clock
    from vm_mgr.ports.cluster_disks import ClusterDisks
    from vm_mgr.ports.runner import Runner
    from vm_mgr.ports.storage_records import Kept, StorageRecords

__all__ = ["PART", "DrbdPool", "put"]

PART = "drbd"
# Pacemaker stops both sides of a resource in this time, or something hangs.
STOP_S = 60.0
_SECRET_BYTES = 24


class DrbdPool:
    """The resources of all VMs on this storage."""

    def __init__(  # noqa: PLR0913 - what the parts share
        self,
        records: StorageRecords,
        pair: Pair,
        disks: ClusterDisks,
        runner: Runner,
        clock: Clock,
        *,
        group: str,
        nodes: Callable[[], Mapping[NodeName, str]],
        ports: tuple[int, int] = (7800, 7999),
        cache: str = "none",
        io: str = "native",
        require: Callable[[], None] = lambda: None,
    ) -> None:
        """group: of the logical volumes. nodes: those with a thin pool → their addresses.

        require raises where a lock has ended.
        """
        self.records = records
        self.pair = pair
        self.disks = disks
        self.runner = runner
        self.clock = clock
        self.group = group
        self.nodes = nodes
        self.ports = ports
        self.cache = cache
        self.io = io
        self.require = require

    def all(self) -> dict[str, Record]:
        """Read all records."""
        return read_all(self.records.read().disks)

    def find(self, name: VmName, *states: State) -> list[Record]:
        """Find a VM's records in these states; placed is the one that it has."""
        return [one for one in self.all().values() if one.name == name and one.state in states]

    def placed(self, name: VmName) -> Record:
        """Give the resource of a VM; raises NOT_FOUND."""
        for one in self.find(name, State.PLACED):
            return one
        raise VmMgrError(Kind.NOT_FOUND, f"{name} has no disks on DRBD", hint="see the VMs: vm-mgr list")

    def change(self, edit: Callable[[Kept], None]) -> None:
        """Change records and definitions in one transaction."""
        self.require()
        self.records.change(edit)

    def update(self, record: Record, **changes: Any) -> Record:
        """Change a record by what it is now; gives it with its new serial number."""
        changed = record

        def edit(kept: Kept) -> None:
            nonlocal changed
            present = read_all(kept.disks).get(record.key)
            if present is None or (present.name, present.state) != (record.name, record.state):
                message = f"the DRBD resource of {record.name} was changed by another command meanwhile"
                raise VmMgrError(Kind.TRY_LATER, message, hint=f"look: vm-mgr status {record.name}")
            changed = put(kept, present._replace(**changes))

        self.change(edit)
        return changed

    def allocate(self, name: VmName, state: State, nodes: Sequence[NodeName]) -> Record:
        """Claim a port for a new resource on these nodes."""
        addresses = self.nodes()
        claimed: list[Record] = []

        def edit(kept: Kept) -> None:
            port = free_port(read_all(kept.disks).values(), *self.ports)
            secret = secrets.token_hex(_SECRET_BYTES)
            claimed[:] = [
                put(kept, Record(port, name, state, {one: addresses[one] for one in nodes}, secret, 0))
            ]

        self.change(edit)
        return claimed[0]

    def add_volume(self, record: Record, size_bytes: int, source: str = "") -> Record:
        """Claim a minor for a further volume."""
        added = record

        def edit(kept: Kept) -> None:
            nonlocal added
            found = read_all(kept.disks)
            present = found[record.key]
            number = len(present.volumes)
            volume = Volume(number, free_minor(found.values()), size_bytes, source)
            added = put(kept, present._replace(volumes=(*present.volumes, volume)))

        self.change(edit)
        return added

    def new_nodes(self, name: VmName) -> list[NodeName]:
        """Choose two nodes for a new VM: this one, which reads its images, and another one."""
        here, others = self.pair.here(), self.nodes()
        if here not in others:
            message = f"{here} has no disks for DRBD, so {name} can't be made from here"
            raise VmMgrError(
                Kind.NOT_SUPPORTED, message, hint=f"run the command on one of: {', '.join(others)}"
            )
        if len(others) < 2:
            hint = "name both in the configuration: [drbd] nodes, with their addresses in [nodes]"
            raise VmMgrError(Kind.ENVIRONMENT, "DRBD needs two nodes with disks", hint=hint)
        return [here, next(one for one in others if one != here)]

    def bring_up(self, record: Record) -> None:
        """Have both sides up and connected, outside of the cluster's hands."""
        self.pair.both(Step.ADJUST, record)
        self.pair.await_look(record, _connected, "connect by DRBD")

    def make_same(self, record: Record, numbers: Sequence[int]) -> None:
        """Say that both sides of these volumes have the same data, as new or copied at one instant.

        Their metadata is written anew; other volumes keep theirs. The resource is up after it.
        """
        for number in numbers:
            self.pair.both(Step.METADATA, record, number)
        self.bring_up(record)
        for number in numbers:
            self.pair.on(self.pair.first(record), Step.FRESH, record, number)
        self.pair.await_look(record, lambda look: look.whole, "agree on their data")

    def take_down(self, record: Record) -> None:
        """Have both sides down; their data has to be the same."""
        self.pair.await_look(record, lambda look: look.whole or not look.up, "have the same data")
        self.pair.both(Step.DOWN, record)

    def erase(self, record: Record) -> None:
        """Delete what a record names on both nodes, then the record; out of reach it stays for later.

        Pacemaker may be about to take down what was a VM's until now.
        """
        old = record
        if record.state is not State.OLD:
            old = self.update(record, state=State.OLD)
        else:
            with suppress(VmMgrError):
                self.pair.await_look(old, lambda look: not look.up, "release the disks", STOP_S)
        self.pair.both(Step.ERASE, old)

        def edit(kept: Kept) -> None:
            kept.disks.pop(old.key, None)

        self.change(edit)

    def apply(self, record: Record) -> Record:
        """Have both nodes do what a changed record says, also where the resource is up."""
        self.pair.both(Step.APPLY, record)
        for node, look in self.pair.looks(record).items():
            if look.up:
                self.pair.on(node, Step.ADJUST, record)
        return self.update(record, pending=False)

    @contextmanager
    def offline(self, record: Record) -> Iterator[None]:
        """Have the resource down on both nodes until the context is left; the cluster leaves it alone."""
        ident = disk_id(record.name, PART)
        has = self.disks.stop(ident)
        try:
            if has:
                with suppress(VmMgrError):
                    self.pair.await_look(record, lambda look: not look.up, "release the disks", STOP_S)
            # What is up still is nobody's: a command that was killed had it up.
            self.pair.both(Step.DOWN, record)
            yield
        finally:
            if has:
                self.disks.start(ident)


def put(kept: Kept, record: Record) -> Record:
    """Write a record, with the next serial number; gives it so."""
    record = record._replace(serial=record.serial + 1)
    kept.disks[record.key] = render(record)
    return record


def _connected(look: Look) -> bool:
    return bool(look.volumes) and all(one.connection == "Connected" for one in look.volumes)

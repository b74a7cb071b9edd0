"""Meet the snapshots port: thin snapshots of all volumes at one instant, on both nodes.

While the VM's writes go on, DRBD holds them at the primary until none is under way. Then both sides are the
same, and each takes its own snapshot. So both sides of a snapshot are the same, too, and going back to it
needs no sync. That writes were held all the time is asked at the end: else the snapshot is none.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from vm_mgr.adapters.drbd.allocation import next_snapshot, read_all
from vm_mgr.adapters.drbd.definitions import nvram_key
from vm_mgr.adapters.drbd.pool import put
from vm_mgr.adapters.drbd.record import Part, Record, Taken
from vm_mgr.adapters.drbd.steps import Step
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.intent import HALF

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_mgr.adapters.drbd.disks import DrbdDisks
    from vm_mgr.adapters.drbd.pool import DrbdPool
    from vm_mgr.model.storage import Consistency, Snapshot
    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.storage_records import Kept

__all__ = ["DrbdSnapshots"]


class DrbdSnapshots:
    """An entry in the record, without a time while it is no whole snapshot, and volumes by its number."""

    def __init__(self, pool: DrbdPool, disks: DrbdDisks) -> None:
        self.pool = pool
        self.disks = disks

    def of(self, name: VmName) -> list[Snapshot]:
        """Read the record."""
        return self.pool.placed(name).finished()

    def take(self, name: VmName, snapshot: str, consistency: Consistency) -> None:
        """Write the entry, take it on both nodes at one instant, complete the entry."""
        record = self.pool.placed(name)
        present = record.snapshots.get(snapshot)
        if present is not None and present.finished:
            return
        self.disks.require_whole(record, "kept in a snapshot")
        parts = tuple(Part(one.minor, one.size_bytes) for one in record.volumes)
        begun = Taken(present.number if present else next_snapshot(record), parts)
        record = self.pool.update(record, snapshots=record.with_snapshot(snapshot, begun).snapshots)
        with self._held(record):
            self.pool.pair.both(Step.KEEP, record, begun.number)
        taken = begun._replace(taken_utc=self.pool.clock.utc(), consistency=consistency)
        self._complete(record, snapshot, taken)

    def regrade(self, name: VmName, snapshot: str, consistency: Consistency) -> None:
        """Change its entry."""
        record = self.pool.placed(name)
        taken = record.snapshots.get(snapshot)
        if taken is not None and taken.finished:
            better = record.with_snapshot(snapshot, taken._replace(consistency=consistency))
            self.pool.update(record, snapshots=better.snapshots)

    def drop(self, name: VmName, snapshot: str) -> None:
        """Take the time off the entry, delete the volumes on both nodes, then the entry."""
        record = self.pool.placed(name)
        taken = record.snapshots.get(snapshot)
        if taken is None:
            return
        begun = record.with_snapshot(snapshot, taken._replace(taken_utc=0.0))
        record = self.pool.update(record, snapshots=begun.snapshots)
        self.pool.pair.both(Step.FORGET, record, taken.number)
        self._complete(record, snapshot, None)

    def roll_back(self, name: VmName, snapshot: str) -> None:
        """Take the resource down, put copies of the snapshot in its volumes' place on both nodes.

        Both sides are the same then, which new metadata says; no sync follows.
        """
        record = self.pool.placed(name)
        taken = record.snapshots.get(snapshot)
        if taken is None or not taken.finished:
            hint = f"see them: vm-mgr list_snapshots {name}"
            raise VmMgrError(Kind.NOT_FOUND, f"{name} has no snapshot {snapshot!r}", hint=hint)
        if any(look.opened for look in self.pool.pair.looks(record).values()):
            message = f"a disk of {name} is in use"
            raise VmMgrError(Kind.WRONG_STATE, message, hint=f"stop it first: vm-mgr stop {name}")
        sizes = {part.minor: part.size_bytes for part in taken.parts}
        volumes = tuple(
            one._replace(size_bytes=sizes.get(one.minor, one.size_bytes)) for one in record.volumes
        )
        with self.pool.offline(record):
            self._mark(name, snapshot)
            record = self.pool.update(record, volumes=volumes)
            self.pool.pair.both(Step.RESTORE, record, taken.number)
            self.pool.pair.both(Step.APPLY, record)
            numbers = [one.number for one in record.volumes if one.minor in sizes]
            self.pool.make_same(record, numbers)
            self.pool.take_down(record)
            self._mark(name, "", nvram_of=snapshot)

    @contextmanager
    def _held(self, record: Record) -> Iterator[None]:
        """Hold the VM's writes, where there can be any; raises TRY_LATER where they went on meanwhile."""
        primaries = [node for node, look in self.pool.pair.looks(record).items() if look.primary]
        for node in primaries:
            self.pool.pair.on(node, Step.HOLD, record)
        try:
            yield
        finally:
            answers = [self.pool.pair.on(node, Step.RELEASE, record) for node in primaries]
        if any(answer != "held" for answer in answers):
            message = f"the snapshot of {record.name} took too long: its writes had to go on meanwhile"
            raise VmMgrError(Kind.TRY_LATER, message, hint="try again when the nodes have less to do")

    def _complete(self, record: Record, snapshot: str, taken: Taken | None) -> None:
        """Write or remove the entry, and with it what firmware keeps: one transaction."""

        def edit(kept: Kept) -> None:
            keys = kept.definitions.setdefault(record.name, {})
            now = keys.get(nvram_key())
            keys.pop(nvram_key(snapshot), None)
            if taken is not None and now:
                keys[nvram_key(snapshot)] = now
            present = read_all(kept.disks)[record.key]
            put(kept, present.with_snapshot(snapshot, taken))

        self.pool.change(edit)

    def _mark(self, name: VmName, half: str, *, nvram_of: str = "") -> None:
        """Say that the disks are those of no instant, or that they are again."""

        def edit(kept: Kept) -> None:
            keys = kept.definitions.setdefault(name, {})
            keys.pop(HALF, None)
            if half:
                keys[HALF] = half
            elif then := keys.get(nvram_key(nvram_of)):
                keys[nvram_key()] = then

        self.pool.change(edit)

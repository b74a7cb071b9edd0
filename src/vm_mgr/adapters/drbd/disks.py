"""Describe, resize, add and drop disks: volumes of the VM's one resource."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.adapters.drbd import commands
from vm_mgr.adapters.drbd.allocation import free_port, read_all
from vm_mgr.adapters.drbd.copying import run_copy, writable
from vm_mgr.adapters.drbd.node_files import LINKS
from vm_mgr.adapters.drbd.pool import put
from vm_mgr.adapters.drbd.record import Record, State, Volume, device
from vm_mgr.adapters.drbd.staging import find_disk, rounded, settle, unstage
from vm_mgr.adapters.drbd.steps import Step
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.capacity import Room
from vm_mgr.model.storage import Disk, DiskInfo, DiskKind, DiskTies, disk_image, no_such_disk

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_mgr.adapters.drbd.pool import DrbdPool
    from vm_mgr.model.storage import ImageFile
    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.storage_records import Kept

__all__ = ["DrbdDisks"]

LITTLE = 64 << 20
DIRECT = ("none", "directsync")


class DrbdDisks:
    """Volumes; both nodes are needed for each change."""

    def __init__(self, pool: DrbdPool) -> None:
        self.pool = pool

    def of(self, name: VmName) -> list[DiskInfo]:
        """Describe the disks as the record says."""
        volumes = self.pool.placed(name).volumes
        return [DiskInfo(disk_image(name, one.number), one.size_bytes) for one in volumes]

    def locate(self, name: VmName, number: int, bus: str | None) -> Disk:
        """Give the link, which is the same on both nodes."""
        cache, io = self.pool.cache, self.pool.io
        return Disk(
            str(LINKS / disk_image(name, number)),
            kind=DiskKind.BLOCK,
            format="raw",
            bus=bus or "",
            cache=cache,
            io=io if io != "native" or cache in DIRECT else "",
        )

    def resize(self, name: VmName, image: str, size_bytes: int) -> None:
        """Make a disk larger on both nodes; what is new of it needs no sync."""
        record, minor = find_disk(self.pool, image)
        volume = next(one for one in record.volumes if one.minor == minor)
        size_bytes = rounded(size_bytes)
        if size_bytes < volume.size_bytes:
            message = f"{image} of {name} has {volume.size_bytes} bytes, which is more"
            raise VmMgrError(Kind.INVALID, message, hint="disks can't be made smaller")
        self.require_whole(record, "resized")
        volumes = tuple(
            one._replace(size_bytes=size_bytes) if one == volume else one for one in record.volumes
        )
        record = self.pool.update(record, volumes=volumes)
        self.pool.pair.both(Step.APPLY, record)
        self._grow(record, volume.number)

    def next_number(self, name: VmName) -> int:
        """Count the volumes."""
        numbers = [one.number for one in self.pool.placed(name).volumes]
        if numbers != list(range(len(numbers))):
            message = f"the disks of {name} are not numbered without gaps: {numbers}"
            raise VmMgrError(Kind.WRONG_STATE, message, hint=f"look: vm-mgr show {name}")
        return len(numbers)

    def make(
        self,
        name: VmName,
        number: int,  # noqa: ARG002 - it has none before it is placed
        size_bytes: int,
        image: ImageFile | None,
        on_progress: Callable[[float], None],
    ) -> None:
        """Make it as a resource of its own: a new volume of one that runs would be Inconsistent for a moment.

        Pacemaker's agent would take that for a reason to demote the VM's resource.
        """
        placed = self.pool.placed(name)
        unstage(self.pool, name)
        record = self.pool.allocate(name, State.DISK, list(placed.nodes))
        record = self.pool.add_volume(record, rounded(size_bytes))
        self.pool.pair.both(Step.APPLY, record)
        self.pool.make_same(record, [0])
        if image is not None:
            with writable(self.pool, record):
                argv = commands.convert(image.source, image.format, device(record.volumes[0].minor))
                run_copy(self.pool, argv, on_progress, image.path)
        self.pool.take_down(record)

    def place(self, name: VmName, number: int) -> None:
        """Give the volume to the VM's resource in one transaction; then have the nodes take it."""
        made = self.pool.find(name, State.DISK)
        if made and self.pool.placed(name).volume(number) is None:
            self.pool.change(lambda kept: _hand_over(kept, name, made[0].key, number))
        elif self.pool.placed(name).volume(number) is None:
            message = f"the new disk of {name} is gone"
            raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=f"look: vm-mgr show {name}")
        settle(self.pool, name)

    def drop(self, name: VmName, number: int) -> None:
        """Take the volume out of the VM's resource, then erase it."""
        volume = self.pool.placed(name).volume(number)
        if volume is not None:
            self.pool.change(lambda kept: _let_go(kept, name, volume, self.pool.ports))
        settle(self.pool, name)

    def ties(self, name: VmName, number: int) -> DiskTies:
        """Name the snapshots that have the disk; a clone shares nothing that would be lost."""
        record = self.pool.placed(name)
        volume = record.volume(number)
        if volume is None:
            raise no_such_disk(name, number, len(record.volumes))
        having = [
            one.name
            for one in record.finished()
            if any(part.minor == volume.minor for part in record.snapshots[one.name].parts)
        ]
        return DiskTies(tuple(having))

    def room(self) -> Room:
        """Ask the thin pools: a disk takes its room on two nodes, so the fuller one counts."""
        rooms = [self.pool.pair.room(node) for node in self.pool.nodes()]
        return Room(min(one.total_bytes for one in rooms), min(one.free_bytes for one in rooms))

    def full(self, name: VmName) -> str:
        """Ask the thin pools of the VM's nodes."""
        full = [
            node for node in self.pool.placed(name).nodes if self.pool.pair.room(node).free_bytes < LITTLE
        ]
        return f"the thin pool of {' and '.join(full)} is full" if full else ""

    def require_whole(self, record: Record, refusal: str) -> None:
        """Raise WRONG_STATE unless both nodes are there, and have the same data or are down."""
        looks = self.pool.pair.looks(record)
        if all(one.whole for one in looks.values()) or not any(one.up for one in looks.values()):
            return
        told = ", ".join(
            f"{node} has {volume.disk} ({volume.connection})"
            for node, look in looks.items()
            for volume in look.volumes
            if not volume.whole
        )
        message = f"{record.name} is not {refusal}: its two sides are not the same now: {told}"
        raise VmMgrError(Kind.WRONG_STATE, message, hint=f"wait for the sync: vm-mgr status {record.name}")

    def _grow(self, record: Record, number: int) -> None:
        """Tell DRBD, which wants one side to be primary: the one that is, or else this one for a moment."""
        looks = self.pool.pair.looks(record)
        primary = next((node for node, look in looks.items() if look.primary), None)
        if primary is not None:
            self.pool.pair.on(primary, Step.GROW, record, number)
            return
        was_up = any(one.up for one in looks.values())
        self.pool.bring_up(record)
        with writable(self.pool, record) as node:
            self.pool.pair.on(node, Step.GROW, record, number)
        if not was_up:
            self.pool.take_down(record)


def _hand_over(kept: Kept, name: VmName, key: str, number: int) -> None:
    """Move the one volume of a resource to the VM's; nothing but its file is left to be erased."""
    found = read_all(kept.disks)
    made = found[key]
    volume = made.volumes[0]._replace(number=number, source="")
    placed = next(one for one in found.values() if one.name == name and one.state is State.PLACED)
    put(kept, placed._replace(volumes=(*placed.volumes, volume), pending=True))
    put(kept, made._replace(state=State.OLD, volumes=()))


def _let_go(kept: Kept, name: VmName, volume: Volume, ports: tuple[int, int]) -> None:
    """Move a volume of the VM's resource to one that is to be erased."""
    found = read_all(kept.disks)
    placed = next(one for one in found.values() if one.name == name and one.state is State.PLACED)
    rest = tuple(one for one in placed.volumes if one.minor != volume.minor)
    put(kept, placed._replace(volumes=rest, pending=True))
    port = free_port(found.values(), *ports)
    put(kept, Record(port, name, State.OLD, placed.nodes, placed.secret, 0, (volume._replace(number=0),)))

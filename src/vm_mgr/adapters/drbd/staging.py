"""Make a VM as a resource of its own, which one transaction makes the VM's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.adapters.drbd import commands
from vm_mgr.adapters.drbd.allocation import read_all
from vm_mgr.adapters.drbd.copying import run_copy, writable
from vm_mgr.adapters.drbd.definitions import NVRAM, packed_nvram, with_settings
from vm_mgr.adapters.drbd.pool import put
from vm_mgr.adapters.drbd.record import Record, State, device, snapshot_volume
from vm_mgr.adapters.drbd.steps import Step
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import disk_image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vm_mgr.adapters.drbd.pool import DrbdPool
    from vm_mgr.model.storage import ImageFile
    from vm_mgr.model.vm import VmName, VmSettings
    from vm_mgr.ports.storage_records import Kept

__all__ = ["StagedResource", "find_disk", "rounded", "settle", "unstage"]

# DRBD counts in blocks of 4 KiB.
BLOCK = 4096


class StagedResource:
    """A resource in the state `new`; nothing of it counts before commit."""

    def __init__(self, pool: DrbdPool, name: VmName) -> None:
        self.pool = pool
        self.name = name
        unstage(pool, name)
        self.record: Record | None = None
        self.keys: dict[str, str] = {}

    def add(self, size_bytes: int) -> None:
        """Make an empty disk on both nodes."""
        self._add(rounded(size_bytes), "")

    def add_clone(self, image: str, snapshot: str) -> None:
        """Make a disk from a snapshot on both nodes: each copies its own half, which show one instant."""
        source, volume = find_disk(self.pool, image)
        taken = source.snapshots.get(snapshot)
        part = next((one for one in taken.parts if one.minor == volume), None) if taken else None
        if taken is None or part is None or not taken.finished:
            raise VmMgrError(Kind.NOT_FOUND, f"{image} has no snapshot {snapshot!r}")
        if self.record is not None and self.record.nodes != source.nodes:
            message = f"the disks of {self.name} can't be on different nodes"
            raise VmMgrError(Kind.NOT_SUPPORTED, message, hint="clone VMs of one pair of nodes")
        if self.record is None:
            self.record = self.pool.allocate(self.name, State.NEW, list(source.nodes))
        self._add(part.size_bytes, snapshot_volume(part.minor, taken.number))

    def fill(self, image: ImageFile, on_progress: Callable[[float], None]) -> None:
        """Copy an image file; DRBD takes it to the other node."""
        record = self._record()
        with writable(self.pool, record):
            target = device(record.volumes[-1].minor)
            argv = commands.convert(image.source, image.format, target)
            run_copy(self.pool, argv, on_progress, image.path)

    def compare(self, image: ImageFile, on_progress: Callable[[float], None]) -> None:
        """Compare with qemu-img."""
        record = self._record()
        with writable(self.pool, record):
            argv = commands.compare(image.source, image.format, device(record.volumes[-1].minor))
            run_copy(self.pool, argv, on_progress, image.path)

    def copy(self, image: str, snapshot: str, on_progress: Callable[[float], None]) -> None:
        """Copy a snapshot from this node's half of it."""
        source, minor = find_disk(self.pool, image)
        taken, record = source.snapshots.get(snapshot), self._record()
        if taken is None or not taken.finished:
            raise VmMgrError(Kind.NOT_FOUND, f"{image} has no snapshot {snapshot!r}")
        if self.pool.pair.here() not in source.nodes:
            hint = f"run the command on one of: {', '.join(source.nodes)}"
            raise VmMgrError(
                Kind.NOT_SUPPORTED, f"the disks of {source.name} are not on this node", hint=hint
            )
        path = f"/dev/{self.pool.group}/{snapshot_volume(minor, taken.number)}"
        part = next(one for one in taken.parts if one.minor == minor)
        with writable(self.pool, record):
            argv = commands.convert_part(path, part.size_bytes, device(record.volumes[-1].minor))
            run_copy(self.pool, argv, on_progress, image)

    def describe(
        self, *, xml: str, base_xml: str, settings: VmSettings, notes: Mapping[str, str], nvram: bytes = b""
    ) -> None:
        """Keep it for the transaction."""
        given = {**settings.user_metadata, **notes, "vm_name": self.name, "_base_xml": base_xml, "xml": xml}
        kept = {**given, NVRAM: packed_nvram(nvram)}
        self.keys = with_settings({key: text for key, text in kept.items() if text}, settings)

    def commit(self) -> None:
        """Prove that both sides have the same, take them down, decide, then erase what it replaces."""
        record = self._record()
        self.pool.take_down(record)
        _place(self.pool, record, self.keys)
        settle(self.pool, self.name)

    def close(self) -> None:
        """Erase what was not committed."""
        unstage(self.pool, self.name)

    def _add(self, size_bytes: int, source: str) -> None:
        self.record = self.pool.add_volume(self._record(), size_bytes, source)
        self.pool.pair.both(Step.APPLY, self.record)
        self.pool.make_same(self.record, [self.record.volumes[-1].number])

    def _record(self) -> Record:
        if self.record is None:
            self.record = self.pool.allocate(self.name, State.NEW, self.pool.new_nodes(self.name))
        return self.record


def _place(pool: DrbdPool, record: Record, keys: Mapping[str, str]) -> None:
    """Make a resource the VM's, and the one that it had one to be erased: one transaction."""

    def edit(kept: Kept) -> None:
        found = read_all(kept.disks)
        for one in found.values():
            if one.name == record.name and one.state is State.PLACED:
                put(kept, one._replace(state=State.OLD))
        put(kept, found[record.key]._replace(state=State.PLACED, pending=True))
        kept.definitions[record.name] = dict(keys)

    pool.change(edit)


def settle(pool: DrbdPool, name: VmName) -> bool:
    """Have nodes do what was decided of a VM's resource, and erase what is not its any more.

    Tells whether anything had been decided and not done.
    """
    pending = [one for one in pool.find(name, State.PLACED) if one.pending]
    for one in pending:
        pool.apply(one)
    for one in pool.find(name, State.OLD):
        pool.erase(one)
    return bool(pending)


def unstage(pool: DrbdPool, name: VmName) -> bool:
    """Erase what was only begun; finish what was decided, and tell whether there was such."""
    for begun in pool.find(name, State.NEW, State.DISK):
        pool.erase(begun)
    return settle(pool, name)


def find_disk(pool: DrbdPool, image: str) -> tuple[Record, int]:
    """Find the resource and the minor of a disk; raises NOT_FOUND."""
    for record in pool.all().values():
        for one in record.volumes if record.state is State.PLACED else ():
            if disk_image(record.name, one.number) == image:
                return record, one.minor
    raise VmMgrError(Kind.NOT_FOUND, f"there is no disk {image!r}", hint="see the VMs: vm-mgr list")


def rounded(size_bytes: int) -> int:
    """Give the next size that DRBD can have.

    >>> rounded(1 << 20), rounded((1 << 20) + 512)
    (1048576, 1052672)
    """
    return -(-size_bytes // BLOCK) * BLOCK

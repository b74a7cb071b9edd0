"""Meet the port of this node's disks: take a step at its half of a resource.

Each step goes by the record in the cluster's configuration, finds out by itself what is done already, and can
be repeated. Outside of the cluster's hands a resource is down, but for the time of a command.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from vm_mgr.adapters.drbd import commands
from vm_mgr.adapters.drbd.proc_drbd import Seen, module_version, parse_proc
from vm_mgr.adapters.drbd.record import (
    Record,
    State,
    Taken,
    logical_volume,
    parse,
    resource_name,
    snapshot_volume,
)
from vm_mgr.adapters.drbd.steps import Order, Step, read_order
from vm_mgr.errors import Kind, ProgramError, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from vm_mgr.adapters.drbd.node_files import NodeFiles
    from vm_mgr.ports.clock import Clock
    from vm_mgr.ports.runner import Runner
    from vm_mgr.ports.storage_records import StorageRecords

__all__ = ["HOLD_S", "DrbdNode", "read_proc"]

SHORT_S = 15.0
# A copy of the configuration is behind by milliseconds; a node that is longer behind is in trouble.
BEHIND_S = 5.0
POLL_S = 0.05
# For so long at most a guest's writes wait for a snapshot, whatever becomes of the command.
HOLD_S = 15.0
DRAIN_S = 5.0
BACK = ".back"
PROC = Path("/proc/drbd")


def read_proc() -> str:
    """Read /proc/drbd; empty where the module is not loaded."""
    try:
        return PROC.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return ""


class DrbdNode:
    """DRBD and LVM of this node."""

    def __init__(  # noqa: PLR0913 - what differs between a node and a test
        self,
        runner: Runner,
        clock: Clock,
        records: StorageRecords,
        files: NodeFiles,
        *,
        group: str,
        pool: str,
        proc: Callable[[], str] = read_proc,
        openers: Callable[[Iterable[int]], Mapping[int, int]] = lambda _minors: {},
    ) -> None:
        """group, pool: the thin pool. openers: minor → process, of those that some process has open."""
        self.runner = runner
        self.clock = clock
        self.records = records
        self.files = files
        self.group = group
        self.pool = pool
        self.proc = proc
        self.openers = openers

    def do(self, words: Sequence[str]) -> str:
        """Take the step that the words name."""
        order = read_order(words)
        if order.step is Step.ROOM:
            return self._room()
        record = self._record(order)
        match order.step:
            case Step.APPLY:
                self._apply(record)
            case Step.ERASE:
                self._erase(record)
            case Step.HOLD:
                self._hold(record)
            case Step.RELEASE:
                return self._release(record)
            case Step.KEEP | Step.FORGET | Step.RESTORE:
                self._snapshot(record, order)
            case Step.LOOK:
                return self._look(record)
            case _:
                self._drbd(record, order)
        return "done"

    def _record(self, order: Order) -> Record:
        """Read the record once it is as new as the one that the order was made from."""
        deadline, key = self.clock.monotonic() + BEHIND_S, str(order.port)
        while True:
            raw = self.records.read().disks.get(key)
            record = parse(key, raw) if raw is not None else None
            if record is not None and record.serial >= order.serial:
                return record
            if self.clock.monotonic() > deadline:
                message = f"this node does not know what {resource_name(order.port)} is to be by now"
                raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint="is it in the cluster? see: crm_mon -1")
            self.clock.sleep(POLL_S)

    def _apply(self, record: Record) -> None:
        if record.state is State.OLD:
            raise VmMgrError(Kind.WRONG_STATE, f"{resource_name(record.port)} is about to be erased")
        sizes = self._volumes()
        for one in record.volumes:
            name = logical_volume(one.minor)
            if name not in sizes and one.source:
                self._run(commands.lv_snapshot(self.group, one.source, name))
            elif name not in sizes:
                self._run(commands.lv_create(self.group, self.pool, name, one.size_bytes))
            elif sizes[name] < commands.lv_size(one.size_bytes):
                self._run(commands.extend(self.group, name, one.size_bytes))
        self.files.apply(record)

    def _erase(self, record: Record) -> None:
        """Delete what the record names; one of a VM's disks is never erased, whoever asks."""
        if record.state is State.PLACED:
            raise VmMgrError(Kind.WRONG_STATE, f"{resource_name(record.port)} has the disks of {record.name}")
        if any(one.up for one in self._seen(record)):
            self._run(commands.down(record.port))
        minors = {one.minor for one in record.volumes}
        minors |= {part.minor for taken in record.snapshots.values() for part in taken.parts}
        for volume in self._volumes():
            minor = volume.removeprefix("drbd").partition(".")[0]
            if volume.startswith("drbd") and minor.isdigit() and int(minor) in minors:
                self._run(commands.lv_remove(self.group, volume))
        self.files.erase(record)

    def _drbd(self, record: Record, order: Order) -> None:
        port, number = order.port, order.number
        if order.step is Step.DOWN and not any(one.up for one in self._seen(record)):
            return
        argv = {
            Step.ADJUST: commands.adjust(port),
            Step.DOWN: commands.down(port),
            Step.METADATA: commands.create_md(port, number),
            Step.FRESH: commands.fresh(port, number),
            Step.PRIMARY: commands.primary(port),
            Step.SECONDARY: commands.secondary(port),
            Step.GROW: commands.grow(port, number),
        }[order.step]
        self._run(argv)

    def _snapshot(self, record: Record, order: Order) -> None:
        taken = next((one for one in record.snapshots.values() if one.number == order.number), None)
        if taken is None:
            name = resource_name(record.port)
            raise VmMgrError(Kind.NOT_FOUND, f"{name} has no snapshot of the number {order.number}")
        present = set(self._volumes())
        if order.step is Step.RESTORE:
            self._restore(record, taken, present)
            return
        for part in taken.parts:
            volume = snapshot_volume(part.minor, taken.number)
            if volume in present:  # of a try that was interrupted: it shows an earlier instant
                self._run(commands.lv_remove(self.group, volume))
            if order.step is Step.KEEP:
                self._run(commands.lv_snapshot(self.group, logical_volume(part.minor), volume))

    def _restore(self, record: Record, taken: Taken, present: set[str]) -> None:
        """Put a copy of the snapshot in the volume's place: the snapshot itself stays."""
        if any(one.up for one in self._seen(record)):
            raise VmMgrError(Kind.WRONG_STATE, f"{resource_name(record.port)} is up")
        for part in taken.parts:
            volume = logical_volume(part.minor)
            copy = volume + BACK
            if volume in present or copy not in present:
                if copy in present:
                    self._run(commands.lv_remove(self.group, copy))
                self._run(commands.lv_snapshot(self.group, snapshot_volume(part.minor, taken.number), copy))
                if volume in present:
                    self._run(commands.lv_remove(self.group, volume))
            self._run(commands.lv_rename(self.group, copy, volume))

    def _hold(self, record: Record) -> None:
        """Hold writes until none is under way; a timer that is set before lets them go on in any case."""
        port = record.port
        self.runner.run(commands.end_timer(port), timeout_s=SHORT_S)
        self._run(commands.start_timer(port, HOLD_S))
        self._run(commands.suspend_io(port))
        deadline = self.clock.monotonic() + DRAIN_S
        while any(one.under_way for one in self._seen(record)):
            if self.clock.monotonic() > deadline:
                self._release(record)
                message = f"the writes of {record.name} do not end, so its disks can't be held at an instant"
                raise VmMgrError(Kind.TRY_LATER, message, hint="see: cat /proc/drbd; then try again")
            self.clock.sleep(POLL_S)

    def _release(self, record: Record) -> str:
        """Let writes go on, and tell whether they had been held until now."""
        held = all(one.paused for one in self._seen(record))
        self._run(commands.resume_io(record.port))
        self.runner.run(commands.end_timer(record.port), timeout_s=SHORT_S)
        return "held" if held else "passed"

    def _look(self, record: Record) -> str:
        minors = [one.minor for one in record.volumes]
        opened = self.openers(minors)
        volumes = [[*one, opened.get(one.minor, 0)] for one in self._seen(record)]
        return json.dumps(volumes, separators=(",", ":"))

    def _room(self) -> str:
        answer = self._run(commands.pool_size(self.group, self.pool)).strip()
        size, _, percent = answer.partition("|")
        try:
            whole = int(size)
            return json.dumps([whole, int(whole * (1 - float(percent) / 100))], separators=(",", ":"))
        except ValueError as error:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"can't read what lvs says: {answer!r}") from error

    def _seen(self, record: Record) -> list[Seen]:
        text = self.proc()
        if (version := module_version(text)) and version[:2] != (8, 4):
            message = f"the kernel's DRBD module is {'.'.join(map(str, version))}, which is not supported yet"
            raise VmMgrError(Kind.NOT_SUPPORTED, message, hint="use the kernel's own module, 8.4")
        found = parse_proc(text)
        return [found.get(one.minor, Seen(one.minor)) for one in record.volumes]

    def _volumes(self) -> dict[str, int]:
        """List the logical volumes of the group, with their sizes."""
        rows = [line.strip().split("|") for line in self._run(commands.lvs(self.group)).splitlines()]
        return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}

    def _run(self, argv: Sequence[str]) -> str:
        done = self.runner.run(argv, timeout_s=SHORT_S)
        if done.exit_code != 0:
            hint = f"look at it on {os.uname().nodename}: cat /proc/drbd; lvs {self.group}"
            raise ProgramError(done.argv, done.exit_code, done.stderr or done.stdout, hint=hint)
        return done.stdout

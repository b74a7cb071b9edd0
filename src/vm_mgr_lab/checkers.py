"""Judge what happened: was every acknowledged write kept, was there ever more than one writer?

Each check returns the problems it found, in words; none means that it passed.
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise

from vm_mgr_lab import disks
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.guest import Record, read_disk
from vm_mgr_lab.guest.build import RECORDS_SECTORS, RECORDS_START
from vm_mgr_lab.lab import Lab

__all__ = ["lost_records", "records_on_disk", "several_writers"]

SECTOR = 512
SHOWN = 5


def records_on_disk(lab: Lab, vm: str, *, node: str) -> list[Record]:
    """Return the records on a VM's system disk, read through a node that is up."""
    disk = disks.content(lab, vm, node=node)
    start = RECORDS_START * SECTOR
    if len(disk) < start + RECORDS_SECTORS * SECTOR:
        raise LabError(f"the disk of {vm} has only {len(disk)} bytes")
    return read_disk(disk[start : start + RECORDS_SECTORS * SECTOR])


def lost_records(disk: Iterable[Record], consoles: Mapping[str, Iterable[Record]]) -> list[str]:
    """Find writes that were acknowledged to the guest but are not on its disk, or not as it wrote them.

    The guest's partition is a ring: what it has gone over since is not expected.
    """
    kept = {record.seq: record for record in disk}
    if not kept:
        return ["the disk has no records at all"]
    oldest = max(kept) - RECORDS_SECTORS + 1
    lost = []
    for node, acknowledged in consoles.items():
        for record in acknowledged:
            if record.seq >= oldest and kept.get(record.seq) != record:
                there = kept.get(record.seq)
                lost.append(
                    f"record {record.seq} of boot {record.boot}, acknowledged on {node}, "
                    + (f"was overwritten by boot {there.boot}" if there else "is missing")
                )
    problems = lost[:SHOWN] + ([f"and {len(lost) - SHOWN} more like these"] if len(lost) > SHOWN else [])
    expected = range(max(min(kept), oldest), max(kept) + 1)
    problems += [f"record {seq} is missing between others" for seq in expected if seq not in kept]
    return problems


def several_writers(disk: Iterable[Record]) -> list[str]:
    """Find boots of the guest that wrote at the same time: each must own one unbroken run of records."""
    runs: list[str] = []
    times: dict[str, list[float]] = {}
    for record in sorted(disk):
        if not runs or runs[-1] != record.boot:
            runs.append(record.boot)
        times.setdefault(record.boot, []).append(record.time_s)
    problems = [
        f"boot {boot} wrote, was interrupted by another boot, and wrote again"
        for boot in sorted({boot for boot in runs if runs.count(boot) > 1})
    ]
    # A second apart is allowed: the guest takes its clock from a real-time clock of whole seconds at boot.
    problems += [
        f"boot {after} wrote before boot {before} had ended"
        for before, after in pairwise(runs)
        if min(times[after]) < max(times[before]) - 1.0
    ]
    return problems

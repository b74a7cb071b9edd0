"""Compare what the guest's disk has with what was acknowledged, only as far back as is new."""

from collections.abc import Iterable

from vm_mgr_lab import checkers, disks
from vm_mgr_lab.guest import Record, read_disk
from vm_mgr_lab.guest.build import RECORDS_SECTORS, RECORDS_START
from vm_mgr_lab.lab import Lab

__all__ = ["judge_records", "new_on_disk"]

SECTOR = 512


def new_on_disk(lab: Lab, vm: str, *, node: str) -> list[Record]:
    """Return the records on a VM's system disk."""
    if not disks.in_shared_folder(lab, vm):
        return checkers.records_on_disk(lab, vm, node=node)
    content = disks.content(lab, vm, node=node)
    start = RECORDS_START * SECTOR
    return read_disk(content[start : start + RECORDS_SECTORS * SECTOR])


def judge_records(acknowledged: Iterable[tuple[float, str, Record]], disk: Iterable[Record]) -> list[str]:
    """Find acknowledged records that are missing, changed, or that were acknowledged twice."""
    problems = []
    first: dict[int, tuple[str, Record]] = {}
    for _, node, record in acknowledged:
        known = first.setdefault(record.seq, (node, record))
        if known[1] != record:
            problems.append(
                f"record {record.seq} was acknowledged twice: on {known[0]} (boot {known[1].boot}, "
                f"{known[1].time_s:.3f}) and on {node} (boot {record.boot}, {record.time_s:.3f})"
            )
    kept = {record.seq: record for record in disk}
    oldest = max(kept, default=0) - RECORDS_SECTORS + 1
    problems += [
        f"record {seq}, acknowledged on {node} (boot {record.boot}), is "
        + (f"overwritten by boot {kept[seq].boot}" if seq in kept else "missing on the disk")
        for seq, (node, record) in first.items()
        if seq >= oldest and kept.get(seq) != record
    ]
    return problems[:8] + ([f"and {len(problems) - 8} more"] if len(problems) > 8 else [])

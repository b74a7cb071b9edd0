"""Compare what the guest's disk has with what was acknowledged, only as far back as is new."""

from collections.abc import Iterable

from vm_mgr_lab import disks
from vm_mgr_lab.guest import Record, read_disk
from vm_mgr_lab.guest.build import RECORDS_SECTORS, RECORDS_START
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import bytes_of

__all__ = ["judge_records", "on_disk"]

SECTOR = 512
READ = """
import rados, rbd, sys
image, offset, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with rados.Rados(conffile="/etc/ceph/ceph.conf", rados_id="admin") as cluster:
    with cluster.open_ioctx("rbd") as pool, rbd.Image(pool, image, read_only=True) as disk:
        sys.stdout.buffer.write(disk.read(offset, length))
"""
SHOWN = 8

Acknowledged = tuple[float, str, Record]  # when, on which node's console, what


def on_disk(lab: Lab, vm: str, acknowledged: Iterable[Acknowledged], *, node: str) -> list[Record]:
    """Return the records on a VM's system disk, those that were acknowledged and more."""
    if disks.in_shared_folder(lab, vm):
        start = RECORDS_START * SECTOR
        content = disks.content(lab, vm, node=node)
        return read_disk(content[start : start + RECORDS_SECTORS * SECTOR])
    numbers = [record.seq for _, _, record in acknowledged]
    first, last = min(numbers, default=0), max(numbers, default=0)
    slots = (first % RECORDS_SECTORS, last % RECORDS_SECTORS + 1)
    if last - first >= RECORDS_SECTORS or slots[0] >= slots[1]:
        slots = (0, RECORDS_SECTORS)
    where = ((RECORDS_START + slots[0]) * SECTOR, (slots[1] - slots[0]) * SECTOR)
    argv = [*lab.machine(node).enter_command(), "timeout", "40", "python3", "-c", READ, f"system_{vm}"]
    return read_disk(bytes_of([*argv, *map(str, where)]))


def judge_records(acknowledged: Iterable[Acknowledged], disk: Iterable[Record]) -> list[str]:
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
    return problems[:SHOWN] + ([f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else [])

"""Read what the guest recorded: from its disk (written) and from its consoles (acknowledged)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Record", "read_console", "read_disk"]

SECTOR = 512
ON_DISK = re.compile(rb"(VMREC1 boot=(\S+) seq=(\d+) time=([\d.]+)) sum=(\d+) *\n")
ON_CONSOLE = re.compile(r"^VMREC1 boot=(\S+) seq=(\d+) time=([\d.]+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, order=True)
class Record:
    """One write of the guest; time in seconds since 1970 by the guest's clock."""

    seq: int
    boot: str
    time_s: float


def read_disk(partition: bytes) -> list[Record]:
    """Return the intact records of the raw partition, in order of their sequence numbers."""
    return sorted(_sectors(partition))


def _sectors(partition: bytes) -> Iterator[Record]:
    for start in range(0, len(partition) - SECTOR + 1, SECTOR):
        found = ON_DISK.match(partition, start, start + SECTOR)
        if found and sum(found[1]) == int(found[5]):
            yield Record(seq=int(found[3]), boot=found[2].decode(), time_s=float(found[4]))


def read_console(text: str) -> list[Record]:
    """Return the records on a console, in the order they were printed: the disk had acknowledged each."""
    return [
        Record(seq=int(seq), boot=boot, time_s=float(time)) for boot, seq, time in ON_CONSOLE.findall(text)
    ]

"""Find out which devices some process of this node has open: DRBD 8.4 does not tell."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["opened_minors"]

MAJOR = 147


def opened_minors(minors: Iterable[int], proc: Path = Path("/proc")) -> set[int]:
    """Look at the open files of all processes, by device number: QEMU has a /dev of its own."""
    wanted = {os.makedev(MAJOR, minor): minor for minor in minors}
    found = set()
    for process in proc.iterdir() if wanted else ():
        if process.name.isdigit():
            with suppress(OSError):  # it has ended
                found |= {wanted[number] for number in _devices(process / "fd") if number in wanted}
    return found


def _devices(folder: Path) -> set[int]:
    numbers = set()
    for one in folder.iterdir():
        with suppress(OSError):  # closed meanwhile
            numbers.add(one.stat().st_rdev)
    return numbers

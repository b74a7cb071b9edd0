"""Find out which devices some process of this node has open: DRBD 8.4 does not tell."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["openers_of"]

MAJOR = 147


def openers_of(minors: Iterable[int], proc: Path = Path("/proc")) -> dict[int, int]:
    """Give minor → process, of those that are open, by device number: QEMU has a /dev of its own."""
    wanted = {os.makedev(MAJOR, minor): minor for minor in minors}
    found: dict[int, int] = {}
    for process in proc.iterdir() if wanted else ():
        if process.name.isdigit():
            with suppress(OSError):  # it has ended
                numbers = _devices(process / "fd") & wanted.keys()
                found |= {wanted[number]: int(process.name) for number in numbers}
    return found


def _devices(folder: Path) -> set[int]:
    numbers = set()
    for one in folder.iterdir():
        with suppress(OSError):  # closed meanwhile
            numbers.add(one.stat().st_rdev)
    return numbers

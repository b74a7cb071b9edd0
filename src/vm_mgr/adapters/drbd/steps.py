"""Name what a node does to its half of a resource, for itself or when another node asks it to.

A step has a port, the serial number of the record that it goes by, and at most one more number. A node reads
the record itself: so what comes over ssh is three numbers, and no path, size or secret.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from vm_mgr.errors import Kind, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Order", "Step", "read_order"]

LONGEST = 10


class Step(StrEnum):
    """All that there is; versions side by side know each other by these words."""

    APPLY = "apply"  # have the logical volumes, the resource file and the links that the record says
    ERASE = "erase"  # have none of them
    ADJUST = "adjust"  # bring it up, or to what the file says
    DOWN = "down"
    METADATA = "metadata"  # of a volume, new
    FRESH = "fresh"  # both sides of a volume are the same
    PRIMARY = "primary"
    SECONDARY = "secondary"
    HOLD = "hold"  # all writes, for some seconds at most
    RELEASE = "release"
    KEEP = "keep"  # a snapshot by its number
    FORGET = "forget"
    RESTORE = "restore"
    GROW = "grow"  # a volume
    LOOK = "look"  # at the volumes, and who has them open
    ROOM = "room"  # in the thin pool


class Order(NamedTuple):
    """A step, the port of a resource, the record's serial number, and a volume's or snapshot's number."""

    step: Step
    port: int = 0
    serial: int = 0
    number: int = 0

    @property
    def words(self) -> tuple[str, ...]:
        """Write it.

        >>> Order(Step.KEEP, 7800, 3, 1).words
        ('keep', '7800', '3', '1')
        """
        return (self.step.value, str(self.port), str(self.serial), str(self.number))


def read_order(words: Sequence[str]) -> Order:
    """Read words that may come from another node; raises INVALID.

    >>> read_order(("keep", "7800", "3", "1"))
    Order(step=<Step.KEEP: 'keep'>, port=7800, serial=3, number=1)
    """
    numbers = words[1:]
    if len(words) != 4 or not all(one.isascii() and one.isdigit() and len(one) < LONGEST for one in numbers):
        raise VmMgrError(Kind.INVALID, "a step has three numbers behind it")
    try:
        return Order(Step(words[0]), *map(int, numbers))
    except ValueError as error:
        raise VmMgrError(Kind.INVALID, f"the steps are: {', '.join(Step)}") from error

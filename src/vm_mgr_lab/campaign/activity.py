"""Judge when the processors of a VM's QEMUs ran: only one of them may ever be let go on.

While a VM moves two QEMUs exist, and one of them stands. Which one runs is not asked of libvirt, whose daemon may
just have been killed: a virtual processor that runs uses time of a real one, and one that stands does not.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["Burst", "Sighting", "longest_stand_s", "ran_twice"]


@dataclass(frozen=True, slots=True, order=True)
class Burst:
    """A time in which a virtual processor ran, as exactly as it was looked at; seconds since 1970."""

    began_s: float
    ended_s: float


@dataclass(slots=True, kw_only=True)
class Sighting:
    """One QEMU of a VM: where it was seen, when, and when its processors ran."""

    vm: str
    node: str
    pid: int
    first_s: float
    last_s: float
    bursts: list[Burst] = field(default_factory=list)

    def ran(self, began_s: float, ended_s: float, *, within_s: float) -> None:
        """Note that it ran; times that follow each other closely become one."""
        if self.bursts and began_s - self.bursts[-1].ended_s <= within_s:
            began_s = self.bursts.pop().began_s
        self.bursts.append(Burst(began_s, ended_s))

    @property
    def last_ran_s(self) -> float:
        """When it ran last; 0 if it never did."""
        return self.bursts[-1].ended_s if self.bursts else 0.0


def ran_twice(sightings: Iterable[Sighting]) -> list[str]:
    """Find two QEMUs of one VM of which both ran while both existed.

    A VM that moves runs in the source, then in the target, and never in the source again. So the two may take
    turns once; bursts that overlap count as turns only where one goes on after the other has begun and ended,
    or where they share more than a look at them can blur.
    """
    seen = sorted(sightings, key=lambda one: one.first_s)
    return [
        f"{first.vm} ran in two QEMUs: in {first.node}'s {first.pid} and in {second.node}'s {second.pid}: "
        + _shown(first, second)
        for number, first in enumerate(seen)
        for second in seen[number + 1 :]
        if first.vm == second.vm and _take_turns(first, second)
    ]


def longest_stand_s(sightings: Iterable[Sighting], began_s: float, ended_s: float) -> float:
    """Return the longest time between two instants in which none of a VM's QEMUs ran."""
    bursts = sorted(burst for one in sightings for burst in one.bursts if burst.ended_s >= began_s)
    longest, last = 0.0, began_s
    for burst in bursts:
        longest = max(longest, burst.began_s - last)
        last = max(last, burst.ended_s)
    return max(longest, ended_s - last)


BLUR_S = 0.3  # two looks, and a machine that is loaded


def _take_turns(first: Sighting, second: Sighting) -> bool:
    if not first.bursts or not second.bursts:
        return False
    # The one that ran first must have stopped for good before the other begins.
    old, new = (first, second) if first.bursts[0] <= second.bursts[0] else (second, first)
    return old.last_ran_s > new.bursts[0].began_s + BLUR_S


def _shown(first: Sighting, second: Sighting) -> str:
    return "; ".join(
        f"{one.node} " + ", ".join(f"{b.began_s:.2f}–{b.ended_s:.2f}" for b in one.bursts[-6:])
        for one in (first, second)
    )

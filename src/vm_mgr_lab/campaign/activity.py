"""Judge when the processors of a VM's QEMUs ran: only one of them may ever be let go on.

While a VM moves two QEMUs exist, and one of them stands. Which one runs is not asked of libvirt, whose
daemon may just have been killed: a virtual processor that runs uses time of a real one,
and one that stands does not.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["Burst", "Sighting", "longest_stand_s", "ran_twice"]

TOGETHER_S = 0.3  # two looks, and a machine that is loaded
# A guest that has just been let go used 160 to 250 ms in its first 0.3 s, alone or beside six busy processes.
# One that stands used up to 1.1 ms while it was set up, and more where the machine's own host was loaded.
RUNS_MS = 20.0
STILL_MS = 1.0  # in one look, by one that runs already


@dataclass(frozen=True, slots=True, order=True)
class Burst:
    """A time in which virtual processors ran, as exactly as it was looked at, and how much time they used.

    By proven_s they surely had run; at some time after still_s they surely still did.
    """

    began_s: float
    ended_s: float
    used_ms: float
    proven_s: float | None
    still_s: float


@dataclass(slots=True, kw_only=True)
class Sighting:
    """One QEMU of a VM: where it was seen, when, and when its processors ran."""

    vm: str
    node: str
    pid: int
    first_s: float
    last_s: float
    incoming: bool = False  # it was started to take over from another one
    bursts: list[Burst] = field(default_factory=list)

    def used(self, began_s: float, ended_s: float, used_ms: float) -> None:
        """Note what its processors used; times that follow each other closely become one."""
        proven_s, still_s, all_ms = None, began_s, used_ms
        if self.bursts and began_s - self.bursts[-1].ended_s <= TOGETHER_S:
            before = self.bursts.pop()
            proven_s, all_ms = before.proven_s, used_ms + before.used_ms
            still_s = began_s if used_ms >= STILL_MS else before.still_s
            began_s = before.began_s
        if proven_s is None and all_ms >= RUNS_MS:
            proven_s = ended_s
        self.bursts.append(Burst(began_s, ended_s, all_ms, proven_s, still_s))

    @property
    def runs(self) -> list[Burst]:
        """When it ran; what a processor that stands uses while it is set up or woken is left out."""
        return [burst for burst in self.bursts if burst.proven_s is not None]

    @property
    def last_ran_s(self) -> float:
        """When it ran last; 0 if it never did."""
        return next((burst.ended_s for burst in reversed(self.bursts) if burst.proven_s), 0.0)


def ran_twice(sightings: Iterable[Sighting]) -> list[str]:
    """Find two QEMUs of one VM of which both ran while both existed.

    A VM that moves runs in the source, then in the target, and never in the source again. Each look says that
    one ran at some time since the look before: only what this proves counts, however seldom a loaded machine
    lets us look.
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
    bursts = sorted(burst for one in sightings for burst in one.runs if burst.ended_s >= began_s)
    longest, last = 0.0, began_s
    for burst in bursts:
        longest = max(longest, burst.began_s - last)
        last = max(last, burst.ended_s)
    return max(longest, ended_s - last)


def _take_turns(first: Sighting, second: Sighting) -> bool:
    if not first.runs or not second.runs:
        return False
    # The one that ran first must have stopped for good before the other begins.
    old, new = (first, second) if first.runs[0] <= second.runs[0] else (second, first)
    return old.runs[-1].still_s > (new.runs[0].proven_s or 0.0)


def _shown(first: Sighting, second: Sighting) -> str:
    return "; ".join(
        f"{one.node} "
        + ", ".join(f"{b.began_s:.2f} to {b.ended_s:.2f} ({b.used_ms:.0f} ms)" for b in one.runs[-6:])
        for one in (first, second)
    )

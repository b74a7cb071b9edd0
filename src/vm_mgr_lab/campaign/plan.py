"""Turn a seed into a schedule: the same seed and round always give the same; nothing is looked at or done here."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["MOVE_FAULTS", "MoveEnd", "plan_move_ends"]

# What can befall the end of a live migration; "source" and "target" are the nodes that it is between.
MOVE_FAULTS = (
    "libvirt-killed-source",
    "libvirt-killed-target",
    "agent-killed-source",
    "agent-killed-target",
    "qemu-killed-source",
    "qemu-killed-target",
    "network-cut-source",
    "network-cut-target",
    "power-cut-source",
    "power-cut-target",
    "hang-source",
    "hang-target",
    "command-killed",
    "command-hung-up",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveEnd:
    """One round: what happens to which move, when before or after its guest changes sides, and for how long.

    target and ask pick among nodes: the first or second other one, and who gives the command.
    """

    round: int
    fault: str
    offset_s: float
    hold_s: float
    target: int
    ask: int


def plan_move_ends(seed: int, rounds: int, faults: Sequence[str] = MOVE_FAULTS) -> list[MoveEnd]:
    """Return the schedule of a seed; every fault comes equally often, in an order of chance."""
    order: list[str] = []
    shuffled = random.Random(f"{seed}:order")  # noqa: S311 - to be replayed, not to be secret
    while len(order) < rounds:
        block = list(faults)
        shuffled.shuffle(block)
        order += block
    return [_move_end(seed, number, fault) for number, fault in enumerate(order[:rounds], start=1)]


def _move_end(seed: int, number: int, fault: str) -> MoveEnd:
    chance = random.Random(f"{seed}:{number}")  # noqa: S311 - to be replayed, not to be secret
    # Half of them close to the switch, where a lost answer decides who runs.
    wide = chance.random() < 0.5
    offset_s = chance.uniform(-0.9, 0.4) if wide else chance.uniform(-0.3, 0.15)
    return MoveEnd(
        round=number,
        fault=fault,
        offset_s=round(offset_s, 3),
        hold_s=round(chance.uniform(2, 20), 1),
        target=chance.randrange(2),
        ask=chance.randrange(3),
    )

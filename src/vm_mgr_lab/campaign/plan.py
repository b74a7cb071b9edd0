"""Turn a seed into a schedule: the same seed and round always give the same; nothing is done here."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "MOVE_FAULTS",
    "NAMED_FAULTS",
    "OPERATIONS",
    "Asked",
    "MoveEnd",
    "Round",
    "Strike",
    "plan_move_ends",
    "plan_rounds",
]

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


# The faults of the whole campaign, by their names in faults.py.
NAMED_FAULTS = (
    "power-cut",
    "hang",
    "cut-both",
    "cut-cluster",
    "cut-admin",
    "partition",
    "deaf",
    "mute",
    "mute-on-cluster",
    "loss",
    "narrow",
    "bmc-broken",
    "bmc-slow",
    "libvirt-killed",
    "pacemakerd-killed",
    "controld-killed",
    "based-killed",
    "fenced-killed",
    "execd-killed",
    "schedulerd-killed",
    "attrd-killed",
    "corosync-killed",
    "mon-killed",
    "osd-killed",
    "mgr-killed",
    "virtlockd-killed",
    "alert-killed",
    "qemu-killed",
    "agent-killed",
    "command-killed",
    "command-hung-up",
    "command-terminated",
    "clock-ahead",
    "clock-behind",
    "run-full",
    "tmp-full",
    "busy",
    "memory-pressure",
    "pool-full",
)
CEPH_ONLY = ("pool-full",)
# A BMC that nobody needs shows nothing: these come with one that makes its node be fenced.
NEED_FENCING = ("bmc-broken", "bmc-slow")
FENCED = ("power-cut", "hang", "cut-both", "partition", "corosync-killed")
TWO_AT_ONCE = 0.3
# Kinds of operations (operations.py), those that meet a running guest more often.
OPERATIONS = {
    "migrate": 5,
    "migrate-away": 2,
    "drain": 2,
    "stop": 2,
    "stop-force": 1,
    "restart": 2,
    "disable": 2,
    "pause": 1,
    "snapshot": 3,
    "remove-snapshot": 2,
    "rollback": 3,
    "resize": 2,
    "add-disk": 2,
    "remove-disk": 2,
    "set": 2,
    "note": 1,
    "edit": 1,
    "create": 2,
    "clone": 2,
    "remove": 2,
    "rename": 2,
    "enable": 1,
    "repair": 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A fault of a round: on which node, when, for how long; seconds from the beginning of the round."""

    fault: str
    node: int
    at_s: float
    hold_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An operation of a round: its kind, which VM, who is asked, when; pick makes all further choices."""

    kind: str
    vm: int
    ask: int
    at_s: float
    pick: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What happens in one round."""

    round: int
    strikes: tuple[Strike, ...]
    asked: tuple[Asked, ...]


def plan_rounds(seed: int, rounds: int, *, storage: str, faults: Sequence[str] = NAMED_FAULTS) -> list[Round]:
    """Return the schedule of a seed; the first rounds of a longer campaign are those of a shorter one."""
    names = [name for name in faults if storage == "ceph" or name not in CEPH_ONLY]
    order: list[str] = []
    shuffled = random.Random(f"{seed}:{storage}:order")  # noqa: S311 - to be replayed, not to be secret
    while len(order) < rounds:
        block = list(names)
        shuffled.shuffle(block)
        order += block
    return [_round(seed, storage, number, fault, names) for number, fault in enumerate(order[:rounds], 1)]


def _round(seed: int, storage: str, number: int, fault: str, names: Sequence[str]) -> Round:
    chance = random.Random(f"{seed}:{storage}:{number}")  # noqa: S311 - to be replayed, not to be secret
    node = chance.randrange(3)
    strikes = [_strike(chance, fault, node)]
    if fault in NEED_FENCING:
        strikes.append(_strike(chance, chance.choice(FENCED), node))
    elif chance.random() < TWO_AT_ONCE:
        strikes.append(_strike(chance, chance.choice(list(names)), chance.randrange(3)))
    first = chance.randrange(3)
    asked = [
        Asked(
            kind=chance.choices(list(OPERATIONS), list(OPERATIONS.values()))[0],
            vm=chance.randrange(3),
            ask=(first + number) % 3,
            at_s=round(chance.uniform(0, 3), 2),
            pick=chance.randrange(1000),
        )
        for number in range(chance.choice((2, 2, 3)))
    ]
    return Round(round=number, strikes=tuple(strikes), asked=tuple(asked))


def _strike(chance: random.Random, fault: str, node: int) -> Strike:
    return Strike(
        fault=fault, node=node, at_s=round(chance.uniform(0.2, 5), 2), hold_s=round(chance.uniform(2, 12), 1)
    )

"""What is known of the campaign's VMs, and which operation is to make what of them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Ask", "Core", "Facts", "Spare", "Want", "chance_of", "facts_of", "judge_facts"]

PAUSED = "Started paused"
Facts = dict[str, object]  # of one VM: exists, state, priority, description, disks, size, snapshots…


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What an operation is to make of one fact of a VM."""

    vm: str
    fact: str
    value: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A command for vm-mgr: its words, and what it is to change; before is done first on that node."""

    words: tuple[str, ...]
    wants: tuple[Want, ...] = ()
    vm: str = ""
    before: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """A VM that keeps records and runs again at the end of each round."""

    name: str
    mac_byte: int
    options: tuple[str, ...]


@dataclass(slots=True)
class Spare:
    """The names of the VMs that come and go; they are disabled and never run."""

    prefix: str
    made: int = 0

    def new(self) -> str:
        """Return a name that was not used before."""
        self.made += 1
        return f"{self.prefix}s{self.made}"


def facts_of(shown: dict[str, object] | None) -> Facts:
    """Reduce what `vm-mgr show` says to what operations change; None is a VM that does not exist."""
    if shown is None:
        return {"exists": False}
    disks = shown["disks"]
    machine, placement = shown["machine"], shown["placement"]
    return {
        "exists": True,
        "state": f"{shown['state']}{' paused' if shown['paused'] else ''}",
        "priority": placement["priority"],  # type: ignore[index]
        "memory": machine["memory_bytes"],  # type: ignore[index]
        "disks": len(disks),  # type: ignore[arg-type]
        "size": disks[0]["size_bytes"] if disks else None,  # type: ignore[index]
        "snapshots": tuple(sorted(str(one["name"]) for one in shown["snapshots"])),  # type: ignore[attr-defined]
        "note": shown["metadata"].get("campaign"),  # type: ignore[attr-defined]
    }


def judge_facts(
    before: dict[str, Facts], after: dict[str, Facts], ended: Sequence[tuple[Ask, int | None]]
) -> list[str]:
    """Compare VMs before and after commands that ended with a status; each is as before or as asked for.

    One command alone that succeeded must have done what it was asked for; of several, any may have been last.
    """
    problems = []
    for vm in sorted({*before, *after}):
        was, now = before.get(vm, {"exists": False}), after.get(vm, {"exists": False})
        touching = [(ask, code) for ask, code in ended if any(want.vm == vm for want in ask.wants)]
        if any(want.fact == "all" for ask, _ in touching for want in ask.wants if want.vm == vm):
            continue
        wants = [(want, code) for ask, code in touching for want in ask.wants if want.vm == vm]
        for fact in sorted({*was, *now}):
            asked = [(want.value, code) for want, code in wants if want.fact == fact]
            allowed = [was.get(fact), *(value for value, _ in asked)]
            comes_or_goes = fact != "exists" and was.get("exists") != now.get("exists")
            if len(asked) == 1 and asked[0][1] == 0:
                allowed = [asked[0][0]]
                if asked[0][0] == PAUSED:  # a guest that was recovered since runs
                    allowed.append("Started")
            if fact == "snapshots" and asked:
                allowed = _mixtures(was.get(fact), [value for value, _ in asked])
            was_told = fact in was or not was.get("exists")
            if was_told and now.get(fact) not in allowed and not comes_or_goes:
                problems.append(
                    f"{vm}: {fact} was {was.get(fact)!r}, is {now.get(fact)!r}, asked for {asked}"
                )
    return problems


def _mixtures(was: object, asked: Sequence[object]) -> list[object]:
    """Return all sets of snapshots that some of the changes of one may have led to."""
    start = set(was) if isinstance(was, tuple) else set()
    results = [start]
    for value in asked:
        wanted = set(value) if isinstance(value, tuple) else set()
        results += [(one | (wanted - start)) - (start - wanted) for one in results]
    return [tuple(sorted(one)) for one in results]


def chance_of(pick: int) -> random.Random:
    """Return the chance that makes an operation's further choices."""
    return random.Random(pick)  # noqa: S311 - to be replayed, not to be secret

"""Tell how a campaign goes, a line a round, and at its end what it was made of."""

from collections import Counter
from collections.abc import Iterable, Sequence

from vm_mgr_lab.campaign.migration_end import Outcome
from vm_mgr_lab.campaign.run import Played

__all__ = ["line_of_move_end", "line_of_round", "table", "table_of_operations"]

Row = tuple[str, bool, bool]  # what, whether it hit, whether the round failed


def line_of_move_end(one: Outcome) -> str:
    """Return a round of the end of a migration in a line."""
    met = "missed" if not one.hit else "" if one.offset_s is None else f"{one.offset_s:+.2f} s of the switch"
    verdict = "FAILED" if one.problems else "ok"
    times = f"stood {one.stood_s:4.1f} s {one.took_s:6.1f} s"
    return f"{one.plan.round:4} {one.plan.fault:22} {met:24} {times} {verdict}"


def line_of_round(one: Played) -> str:
    """Return a round of the whole campaign in a line: faults, commands with their ends, times by phase."""
    faults = "+".join(strike.fault for strike in one.plan.strikes)
    commands = ", ".join(f"{ask.words[0]}:{'?' if code is None else code}" for ask, code in one.ended)
    verdict = "FAILED" if one.problems else "ok"
    return f"{one.plan.round:4} {faults:34} {commands:44} {one.phases:14} {one.took_s:6.1f} s {verdict}"


def table(title: str, rows: Iterable[Row]) -> list[str]:
    """Return the counts by fault as lines."""
    rows = list(rows)
    played, hit = Counter(what for what, _, _ in rows), Counter(what for what, met, _ in rows if met)
    failed = Counter(what for what, _, bad in rows if bad)
    lines = [f"{title:24} rounds  hit  failed"]
    lines += [f"{what:24} {count:6} {hit[what]:4} {failed[what]:7}" for what, count in sorted(played.items())]
    return [*lines, f"{'all':24} {len(rows):6} {sum(hit.values()):4} {sum(failed.values()):7}"]


def table_of_operations(rounds: Sequence[Played]) -> list[str]:
    """Return the counts by operation: how many were done, refused, and lost with their process or node."""
    ends: dict[str, Counter[str]] = {}
    for one in rounds:
        for ask, code in one.ended:
            end = "lost" if code is None else "done" if code == 0 else "refused"
            ends.setdefault(ask.words[0], Counter())[end] += 1
    lines = [f"{'operation':24}   done refused  lost"]
    return lines + [
        f"{name:24} {count['done']:6} {count['refused']:7} {count['lost']:5}"
        for name, count in sorted(ends.items())
    ]

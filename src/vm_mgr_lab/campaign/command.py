"""The verb campaign."""

import random
import sys
import time
from collections import Counter
from pathlib import Path

import click

from vm_mgr_lab.campaign.migration_end import MAC_BYTES, MoveEnds, Outcome, make_vm, vm_of
from vm_mgr_lab.campaign.plan import MOVE_FAULTS, plan_move_ends
from vm_mgr_lab.campaign.rest import RestTimes, come_to_rest
from vm_mgr_lab.campaign.watch import Watch
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import require_programs, require_root

__all__ = ["campaign"]


@click.command()
@click.option("--scenario", type=click.Choice(["migration-end"]), default="migration-end", show_default=True)
@click.option("--seed", type=int, help="Replays the campaign with this seed; one of chance by default.")
@click.option("--faults", default=50, show_default=True, help="How many rounds.")
@click.option("--storage", type=click.Choice(list(MAC_BYTES)), default="ceph", show_default=True)
@click.option("--only", type=int, help="Plays this round alone.")
@click.option("--from", "first", type=int, default=1, help="Begins with this round.")
@click.option("--fault", "wanted", multiple=True, type=click.Choice(MOVE_FAULTS), help="Only such faults.")
@click.option("--keep", type=click.Path(path_type=Path), help="Where failed rounds are kept.")
def campaign(  # noqa: PLR0913
    scenario: str,
    seed: int | None,
    faults: int,
    storage: str,
    only: int | None,
    first: int,
    wanted: tuple[str, ...],
    keep: Path | None,
) -> None:
    """Do random faults to a lab that is up, and audit it after each.

    \b
    Example:
      sudo vm-mgr-lab campaign --scenario migration-end --faults 200 --storage ceph
      sudo vm-mgr-lab campaign --scenario migration-end --seed 7 --only 12
    """
    require_root()
    require_programs()
    lab = Lab.load()
    seed = seed if seed is not None else random.SystemRandom().randrange(1_000_000)
    keep = (
        keep or lab.paths.state.with_name(f"{lab.paths.state.name}-campaign") / f"{scenario}-{storage}-{seed}"
    )
    began = time.monotonic()

    def say(line: str) -> None:
        click.echo(f"[{time.monotonic() - began:7.1f} s] {line}")

    say(f"campaign {scenario}: seed {seed}, {faults} faults, {storage}; failures are kept in {keep}")
    outcomes = _play(lab, storage, seed, keep, say, faults=faults, only=only, first=first, wanted=wanted)
    _tell(outcomes, seed, time.monotonic() - began)
    if not outcomes or any(one.problems for one in outcomes):
        sys.exit(1)


def _play(  # noqa: PLR0913
    lab: Lab,
    storage: str,
    seed: int,
    keep: Path,
    say: "object",
    *,
    faults: int,
    only: int | None,
    first: int,
    wanted: tuple[str, ...],
) -> list[Outcome]:
    plans = plan_move_ends(seed, max(faults, only or 0), wanted or MOVE_FAULTS)
    plans = [one for one in plans if one.round == only] if only else plans[first - 1 :]
    make_vm(lab, storage, say)  # type: ignore[arg-type]
    outcomes: list[Outcome] = []
    with Watch(lab, {vm_of(storage): MAC_BYTES[storage]}) as watch:
        if trouble := come_to_rest(lab, [vm_of(storage)], RestTimes()):
            raise LabError("the lab is not healthy: " + "; ".join(trouble))
        time.sleep(1)
        game = MoveEnds(lab, storage, watch, keep, say)  # type: ignore[arg-type]
        for plan in plans:
            outcome = game.play(plan)
            outcomes.append(outcome)
            _line(outcome, say)
            if not outcome.rested:
                say(f"the lab can't be healed; replay: --seed {seed} --only {plan.round}")  # type: ignore[operator]
                break
    return outcomes


def _line(one: Outcome, say: "object") -> None:
    met = "missed" if not one.hit else "" if one.offset_s is None else f"{one.offset_s:+.2f} s of the switch"
    runs = f"stood {one.stood_s:.1f} s"
    say(
        f"{one.plan.round:4} {one.plan.fault:22} {met:24} {runs:20} {one.took_s:5.1f} s "
        + ("ok" if not one.problems else "FAILED")
    )  # type: ignore[operator]  # noqa: E501
    for problem in one.problems:
        say(f"     {problem[:400]}")  # type: ignore[operator]


def _tell(outcomes: list[Outcome], seed: int, took_s: float) -> None:
    played = Counter(one.plan.fault for one in outcomes)
    hit = Counter(one.plan.fault for one in outcomes if one.hit)
    failed = Counter(one.plan.fault for one in outcomes if one.problems)
    click.echo(f"\n{'fault':24} rounds  hit  failed")
    for fault, count in sorted(played.items()):
        click.echo(f"{fault:24} {count:6} {hit[fault]:4} {failed[fault]:7}")
    click.echo(
        f"{'all':24} {len(outcomes):6} {sum(hit.values()):4} {sum(failed.values()):7}   "
        f"in {took_s:.0f} s, seed {seed}"
    )
    if rounds := [one.plan.round for one in outcomes if one.problems]:
        click.echo(f"failed rounds: {rounds}")

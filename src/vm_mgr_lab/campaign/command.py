"""The verb campaign."""

import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from vm_mgr_lab.campaign import report
from vm_mgr_lab.campaign.migration_end import MAC_BYTES, MoveEnds, Outcome, make_vm, vm_of
from vm_mgr_lab.campaign.plan import MOVE_FAULTS, NAMED_FAULTS, plan_move_ends, plan_rounds
from vm_mgr_lab.campaign.rest import RestTimes, come_to_rest
from vm_mgr_lab.campaign.run import Campaign, Played, core_vms, secrets_of
from vm_mgr_lab.campaign.watch import Watch
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import require_programs, require_root

__all__ = ["Request", "campaign", "play"]

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be played: which rounds of which schedule."""

    scenario: str
    seed: int
    faults: int
    storage: str
    keep: Path
    wanted: tuple[str, ...] = ()
    first: int = 1
    only: int | None = None

    @property
    def rounds(self) -> slice:
        """Which rounds of the schedule."""
        return slice(self.only - 1, self.only) if self.only else slice(self.first - 1, self.faults)

    @property
    def length(self) -> int:
        """How long the schedule must be."""
        return max(self.faults, self.only or 0)


@click.command()
@click.option(
    "--scenario",
    type=click.Choice(["all", "migration-end"]),
    default="all",
    show_default=True,
    help="Everything, or only the last second of live migrations.",
)
@click.option("--seed", type=int, help="Replay the campaign of this seed; a random one by default.")
@click.option("--faults", default=50, show_default=True, help="Number of rounds.")
@click.option(
    "--storage",
    type=click.Choice(list(MAC_BYTES)),
    default="ceph",
    show_default=True,
    help="The storage of the VMs.",
)
@click.option("--only", type=int, metavar="ROUND", help="Play only this round.")
@click.option("--from", "first", type=int, default=1, metavar="ROUND", help="Begin with this round.")
@click.option("--fault", "wanted", multiple=True, metavar="NAME", help="Only this fault; can be repeated.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    help="Folder for failed rounds; by default beside the state folder.",
)
def campaign(seed: int | None, keep: Path | None, wanted: tuple[str, ...], **options: object) -> None:
    """Inject random faults into random operations on a running lab, heal and audit it, round after round.

    A failed round is kept with the journals of all nodes. The campaign goes on as long as the lab can be
    healed. The exit status is 1 unless all rounds were clean.

    \b
    Example:
      sudo vm-mgr-lab campaign --faults 300 --storage ceph
      sudo vm-mgr-lab campaign --seed 7 --only 12
      sudo vm-mgr-lab campaign --scenario migration-end --faults 200 --storage vms
    """
    require_root()
    require_programs()
    lab = Lab.load()
    known = MOVE_FAULTS if options["scenario"] == "migration-end" else NAMED_FAULTS
    if unknown := sorted(set(wanted) - set(known)):
        raise LabError(f"no fault {', '.join(unknown)}", hint="faults: " + ", ".join(known))
    seed = seed if seed is not None else random.SystemRandom().randrange(1_000_000)
    name = f"{options['scenario']}-{options['storage']}-{seed}"
    keep = keep or lab.paths.state.with_name(f"{lab.paths.state.name}-campaign") / name
    request = Request(seed=seed, keep=keep, wanted=wanted, **options)  # type: ignore[arg-type]
    if not play(lab, request):
        sys.exit(1)


def play(lab: Lab, request: Request) -> bool:
    """Play a campaign and tell how it goes; True if every round was clean."""
    began = time.monotonic()

    def say(line: str) -> None:
        click.echo(f"[{time.monotonic() - began:7.1f} s] {line}")

    say(f"campaign {request.scenario}: seed {request.seed}, {request.faults} faults, {request.storage}")
    say(f"rounds that fail are kept in {request.keep}")
    player = _play_move_ends if request.scenario == "migration-end" else _play_all
    bad = player(lab, request, say)
    took_s = time.monotonic() - began
    click.echo(f"\nseed {request.seed}, {took_s:.0f} s; " + (f"failed rounds: {bad}" if bad else "all clean"))
    for number in bad:
        click.echo(
            f"replay: vm-mgr-lab campaign --scenario {request.scenario} --storage {request.storage} "
            f"--seed {request.seed} --faults {request.length} --only {number}"
        )
    return not bad


def _play_move_ends(lab: Lab, request: Request, say: Say) -> list[int]:
    plans = plan_move_ends(request.seed, request.length, request.wanted or MOVE_FAULTS)[request.rounds]
    make_vm(lab, request.storage, say)
    vm = vm_of(request.storage)
    outcomes: list[Outcome] = []
    with Watch(lab, {vm: MAC_BYTES[request.storage]}) as watch:
        if trouble := come_to_rest(lab, [vm], RestTimes()):
            raise LabError("the lab is not healthy: " + "; ".join(trouble))
        time.sleep(1)  # the watch's first looks
        game = MoveEnds(lab, request.storage, watch, request.keep)
        for plan in plans:
            outcomes.append(game.play(plan))
            _tell(say, report.line_of_move_end(outcomes[-1]), outcomes[-1].problems)
            if not outcomes[-1].rested:
                say("the lab can't be healed; the campaign ends here")
                break
    click.echo("")
    for line in report.table("fault", [(o.plan.fault, o.hit, bool(o.problems)) for o in outcomes]):
        click.echo(line)
    return [one.plan.round for one in outcomes if one.problems]


def _play_all(lab: Lab, request: Request, say: Say) -> list[int]:
    plans = plan_rounds(
        request.seed, request.length, storage=request.storage, faults=request.wanted or NAMED_FAULTS
    )[request.rounds]
    rounds: list[Played] = []
    secrets = secrets_of(lab)
    vms = {one.name: one.mac_byte for one in core_vms(request.storage)}
    with Watch(lab, vms, secrets) as watch:
        game = Campaign(lab, request.storage, watch, request.keep, secrets)
        game.prepare(say)
        for plan in plans:
            rounds.append(game.play(plan))
            _tell(say, report.line_of_round(rounds[-1]), rounds[-1].problems)
            if not rounds[-1].healed:
                say("the lab can't be healed; the campaign ends here")
                break
    click.echo("")
    rows = [
        (strike.fault, one.hit.get(strike.fault, False), bool(one.problems))
        for one in rounds
        for strike in one.plan.strikes
    ]
    for line in [*report.table("fault", rows), "", *report.table_of_operations(rounds)]:
        click.echo(line)
    return [one.plan.round for one in rounds if one.problems]


def _tell(say: Say, line: str, problems: list[str]) -> None:
    say(line)
    for problem in problems[:12]:
        say(f"     {problem[:400]}")

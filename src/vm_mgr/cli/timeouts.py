"""The command timeouts."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from vm_mgr.cli.render import print_answer, print_table
from vm_mgr.cli.run import optional_name_argument, output_option, run
from vm_mgr.model.inconsistencies import Inconsistency, spell
from vm_mgr.model.vm import VmName
from vm_mgr.operations.registry import OPERATIONS
from vm_mgr.operations.timeouts import Timeouts, require_consistent
from vm_mgr.ports.env import Env

if TYPE_CHECKING:
    from vm_mgr.model.recovery import Recovery

__all__ = ["timeouts_command"]

CAUSES = {"node_lost": "node lost", "qemu_died": "QEMU died"}


@click.command("timeouts")
@optional_name_argument
@click.option("--check", is_flag=True, help="End with exit status 5 if an inconsistency is an error.")
@output_option
def timeouts_command(name: VmName | None, check: bool, output: str) -> None:  # noqa: FBT001
    """Show how long recoveries take, phase by phase, and which timeouts contradict each other.

    The times follow from the settings of Corosync, Pacemaker, the fence devices and Ceph. They are given for
    the typical case, then for the worst case, until QEMU runs again. Without NAME all VMs of the cluster are
    shown. A fence device that has failed or is stopped is found, too.

    \b
    Example:
      vm-mgr timeouts
      vm-mgr timeouts web1
      vm-mgr timeouts --check --output json
    """

    def show(env: Env) -> None:
        found: Timeouts = OPERATIONS["timeouts"].load()(env, name=name)
        if output != "table":
            print_answer("timeouts", found, output)
        else:
            _print(found, alone=name is not None)
        if check:
            require_consistent(found)

    run(show)


def _print(found: Timeouts, *, alone: bool) -> None:
    if alone:
        _print_phases(found)
    elif found.outlooks:
        heading = ("vm", "cause", "noticed", "fenced, stopped", "storage released", "started", "all")
        print_table([heading, *_summary(found)])
        print("\nSeconds, typically and at worst, until QEMU runs again; vm-mgr timeouts VM explains them.")
    else:
        print("The cluster has no VM.")
    for one in found.inconsistencies:
        where = f"{one.subject}: " if one.subject else ""
        pair = " against ".join(f"{name} = {value}" for name, value in (one.first, one.second))
        print(f"\n{one.severity.value.upper()} {one.code}: {where}{pair}\n  {one.why}\n  {_remedy(one)}")
    if not found.inconsistencies:
        print("\nNo timeouts contradict each other.")
    if found.unknown:
        print(f"\nNot read or not looked at: {', '.join(found.unknown)}")


def _remedy(one: Inconsistency) -> str:
    return one.remedy if one.code == "device-silent" else f"set: {one.remedy}"


def _summary(found: Timeouts) -> Iterator[tuple[str, ...]]:
    for one in found.outlooks:
        for key, cause in CAUSES.items():
            recovery: Recovery = getattr(one, key)
            phases = [_range(phase.typical_s, phase.worst_s) for phase in recovery.phases]
            yield (one.vm.name, cause, *phases, _range(recovery.typical_s, recovery.worst_s))


def _print_phases(found: Timeouts) -> None:
    for one in found.outlooks:
        rows = []
        for key, cause in CAUSES.items():
            recovery: Recovery = getattr(one, key)
            rows += [
                (cause, phase.name, spell(phase.typical_s), spell(phase.worst_s), phase.made_of)
                for phase in recovery.phases
            ]
            rows.append(
                (cause, "all", spell(recovery.typical_s), spell(recovery.worst_s), "until QEMU runs again")
            )
        print_table([("cause", "phase", "typical", "worst", "made of"), *rows])


def _range(typical: float | None, worst: float | None) -> str:
    """Write two times of seconds.

    >>> _range(2.86, 4.42), _range(None, 30), _range(1, None)
    ('2.9 to 4.4', '? to 30', '1 to ?')
    """
    return " to ".join("?" if one is None else f"{one:.1f}".removesuffix(".0") for one in (typical, worst))

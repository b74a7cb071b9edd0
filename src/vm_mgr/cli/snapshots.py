"""Commands about snapshots."""

from datetime import datetime

import click

from vm_mgr.cli.answer import answer, show_done
from vm_mgr.cli.complete import snapshot_names
from vm_mgr.cli.dry_run import confirm
from vm_mgr.cli.render import print_snapshots, snapshot_row
from vm_mgr.cli.run import name_argument, output_option, run
from vm_mgr.model.storage import Consistency
from vm_mgr.model.vm import VmName

__all__ = [
    "create_snapshot_command",
    "list_snapshots_command",
    "purge_command",
    "remove_snapshot_command",
    "rollback_command",
]

WORDS = {
    Consistency.OFFLINE: "offline: the VM was stopped",
    Consistency.FROZEN: "frozen: the guest's file systems were at rest",
    Consistency.CRASH: "crash-consistent: one instant of the running guest",
    Consistency.UNKNOWN: "unknown",
}

_snapshot = click.option("--snap-name", "snapshot", metavar="S", required=True,
                         shell_complete=snapshot_names, help="The name of the snapshot.")  # fmt: skip


@click.command("create-snapshot")
@name_argument
@_snapshot
def create_snapshot_command(name: VmName, snapshot: str) -> None:
    """Take a snapshot of all disks of a VM at one instant.

    \b
    Example:
      vm-mgr create-snapshot web1 --snap-name before-update
    """
    from vm_mgr.operations.create_snapshot import create_snapshot  # noqa: PLC0415

    taken = run(lambda env: create_snapshot(env, name, snapshot))
    words = f"snapshot {taken.name} of {name} taken ({WORDS[taken.consistency]})"
    answer(words, vm=name, **snapshot_row(taken))


@click.command("remove-snapshot")
@name_argument
@_snapshot
def remove_snapshot_command(name: VmName, snapshot: str) -> None:
    """Remove a snapshot.

    \b
    Example:
      vm-mgr remove-snapshot web1 --snap-name before-update
    """
    from vm_mgr.operations.remove_snapshot import remove_snapshot  # noqa: PLC0415

    run(lambda env: remove_snapshot(env, name, snapshot))
    answer(f"snapshot {snapshot} of {name} removed", vm=name, removed=[snapshot])


@click.command("list-snapshots")
@name_argument
@output_option
def list_snapshots_command(name: VmName, output: str) -> None:
    """List a VM's snapshots, the oldest first, with the consistency of each.

    \b
    offline  the VM was stopped
    frozen   the guest's file systems were frozen by its agent
    crash    one instant of the running guest, as after a power cut
    unknown  taken by another tool

    \b
    Example:
      vm-mgr list-snapshots web1 --output json
    """
    from vm_mgr.operations.list_snapshots import list_snapshots  # noqa: PLC0415

    print_snapshots(run(lambda env: list_snapshots(env, name)), output)


@click.command("purge")
@name_argument
@click.option("--date", metavar="'DD/MM/YYYY HH:MM:SS'", help="Remove those from before this local time.")
@click.option("--number", type=click.IntRange(min=0), metavar="N", help="Remove the N oldest ones.")
def purge_command(name: VmName, date: str | None, number: int | None) -> None:
    """Remove a VM's snapshots: all, those before a date, or the oldest ones.

    \b
    Example:
      vm-mgr purge web1 --number 3
    """
    from vm_mgr.operations.remove_snapshot import purge  # noqa: PLC0415

    if date is not None and number is not None:
        raise click.UsageError("give --date or --number, not both")
    before_utc = None if date is None else _utc(date)
    gone = run(lambda env: purge(env, name, before_utc=before_utc, number=number))
    names = [one.name for one in gone]
    count = f"{len(names)} snapshot{'' if len(names) == 1 else 's'} of {name} removed"
    answer(f"{count}: {', '.join(names)}" if names else count, vm=name, removed=names)


@click.command("rollback")
@name_argument
@_snapshot
@click.option("-y", "--yes", is_flag=True, help="Don't ask for confirmation.")
def rollback_command(name: VmName, snapshot: str, yes: bool) -> None:  # noqa: FBT001
    """Stop a VM if it runs, roll all its disks back to a snapshot, and start it again if it was to run.

    \b
    Example:
      vm-mgr rollback web1 --snap-name before-update
    """
    from vm_mgr.operations.rollback import rollback  # noqa: PLC0415

    if not yes:
        confirm(f"What {name} wrote since {snapshot} will be lost. Go on?")
    show_done(run(lambda env: rollback(env, name, snapshot)))


def _utc(date: str) -> float:
    try:
        return datetime.strptime(date, "%d/%m/%Y %H:%M:%S").astimezone().timestamp()
    except ValueError as error:
        raise click.UsageError(f"--date {date!r}: write it as '31/12/2026 23:59:59'") from error

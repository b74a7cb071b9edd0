"""Commands about snapshots."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click
from click.core import ParameterSource

from vm_mgr.cli.answer import answer
from vm_mgr.cli.dry_run import confirm, yes_option
from vm_mgr.cli.options import options_of, with_options
from vm_mgr.cli.render import print_snapshots
from vm_mgr.cli.run import name_and_words, name_argument, output_option, perform, show_done
from vm_mgr.model.storage import Consistency
from vm_mgr.model.vm import VmName
from vm_mgr.operations.registry import fields_of

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


def snapshot_argument(verb: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Hand a command the VM's `name` and the `snapshot`: a plain word after it, or --snap-name."""
    words = "The name of the snapshot; can also be the second argument."
    fields = [one._replace(required=False, help=words) for one in fields_of(verb) if one.name == "snapshot"]

    def decorate(command: Callable[..., object]) -> Callable[..., object]:
        @wraps(command)
        def with_snapshot(name: VmName, words: tuple[str, ...], snapshot: str | None, **given: Any) -> object:
            found = list(dict.fromkeys((*((snapshot,) if snapshot is not None else ()), *words)))
            if not found:
                raise click.UsageError("give the name of the snapshot")
            if len(found) > 1:
                raise click.UsageError(f"two snapshots are given: {found[0]} and {found[1]}")
            context = click.get_current_context()  # it is recorded as the option, however it was given
            context.params["snapshot"] = found[0]
            context.set_parameter_source("snapshot", ParameterSource.COMMANDLINE)
            return command(name=name, snapshot=found[0], **given)

        return name_and_words("[SNAPSHOT]", "snapshot")(with_options(fields)(with_snapshot))

    return decorate


@click.command("create-snapshot")
@snapshot_argument("create-snapshot")
def create_snapshot_command(**given: Any) -> None:
    """Take a snapshot of all disks of a VM at one instant.

    \b
    Example:
      vm-mgr create-snapshot web1 before-update
    """
    taken = perform("create-snapshot", given)
    words = f"snapshot {taken.name} of {given['name']} taken ({WORDS[taken.consistency]})"
    answer("create-snapshot", given, taken, words)


@click.command("remove-snapshot")
@snapshot_argument("remove-snapshot")
@yes_option
def remove_snapshot_command(yes: bool, **given: Any) -> None:  # noqa: FBT001
    """Remove a snapshot.

    \b
    Example:
      vm-mgr remove-snapshot web1 before-update
    """
    confirm(f"Snapshot {given['snapshot']} of {given['name']} will be deleted.", yes=yes)
    done = perform("remove-snapshot", given)
    answer("remove-snapshot", given, done, f"snapshot {given['snapshot']} of {given['name']} removed")


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
    print_snapshots(perform("list-snapshots", {"name": name}), output)


@click.command("purge")
@name_argument
@options_of("purge")
@yes_option
def purge_command(yes: bool, **given: Any) -> None:  # noqa: FBT001
    """Remove a VM's snapshots: all, those before a date, or the oldest ones.

    \b
    Example:
      vm-mgr purge web1 --number 3
    """
    if given["before_utc"] is not None and given["number"] is not None:
        raise click.UsageError("give --date or --number, not both")
    which = "Old" if given["before_utc"] is not None or given["number"] is not None else "All"
    confirm(f"{which} snapshots of {given['name']} will be deleted.", yes=yes)
    gone = perform("purge", given)
    count = f"{len(gone)} snapshot{'' if len(gone) == 1 else 's'} of {given['name']} removed"
    answer("purge", given, gone, f"{count}: {', '.join(one.name for one in gone)}" if gone else count)


@click.command("rollback")
@snapshot_argument("rollback")
@yes_option
def rollback_command(name: VmName, snapshot: str, yes: bool) -> None:  # noqa: FBT001
    """Stop a VM if it runs, roll all its disks back to a snapshot, and start it again if it was to run.

    \b
    Example:
      vm-mgr rollback web1 before-update
    """
    confirm(f"What {name} wrote since {snapshot} will be lost.", yes=yes)
    show_done("rollback", {"name": name, "snapshot": snapshot})

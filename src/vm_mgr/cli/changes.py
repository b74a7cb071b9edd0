"""Commands that change a VM as a whole: start, stop, enable, migrate, rename, remove and the like."""

from collections.abc import Sequence
from typing import Any

import click

from vm_mgr.cli.answer import answer
from vm_mgr.cli.dry_run import confirm, yes_option
from vm_mgr.cli.options import options_of
from vm_mgr.cli.run import each, name_argument, names_argument, perform, show_done
from vm_mgr.model.vm import VmName
from vm_mgr.ports.cluster import Constraint

__all__ = [
    "clear_command",
    "disable_command",
    "enable_command",
    "remove_command",
    "rename_command",
    "repair_command",
    "restart_command",
    "start_command",
    "stop_command",
    "unmigrate_command",
]


@click.command("start")
@names_argument
@options_of("start")
def start_command(names: list[VmName], allow: str | None) -> None:
    """Start VMs, one after the other, and wait until each runs.

    \b
    Example:
      vm-mgr start web1
      vm-mgr start web1 web2
    """
    each("start", names, {"allow_lost_writes": allow is not None})


@click.command("stop")
@names_argument
@options_of("stop")
def stop_command(names: list[VmName], **given: Any) -> None:
    """Stop VMs, one after the other, and wait until each has stopped. The cluster then leaves it stopped.

    --force is a power cut for the guest. It also helps with a VM that is already stopping and does not end.

    \b
    Example:
      vm-mgr stop web1
      vm-mgr stop web1 web2
    """
    each("stop", names, given)


@click.command("enable")
@names_argument
@options_of("enable")
def enable_command(names: list[VmName], **given: Any) -> None:
    """Put Disabled VMs under the cluster's control and start them.

    \b
    Example:
      vm-mgr enable web1
      vm-mgr enable web1 web2
    """
    each("enable", names, given)


@click.command("disable")
@names_argument
def disable_command(names: list[VmName]) -> None:
    """Stop VMs and take them out of the cluster's control. Their disks and definitions stay.

    \b
    Example:
      vm-mgr disable web1
      vm-mgr disable web1 web2
    """
    each("disable", names, {})


@click.command("remove")
@names_argument
@yes_option
def remove_command(names: list[VmName], yes: bool) -> None:  # noqa: FBT001
    """Stop VMs and delete them with their disks and snapshots. On a terminal it asks first.

    \b
    Example:
      vm-mgr remove web1
      vm-mgr remove --yes web1 web2
    """
    what = f"{', '.join(names)} will be stopped, and deleted with all disks and snapshots."
    confirm(what, yes=yes)
    each("remove", names, {}, lambda name, _: f"{name} is removed")


@click.command("restart")
@names_argument
def restart_command(names: list[VmName]) -> None:
    """Shut VMs down and start them again, one after the other.

    \b
    Example:
      vm-mgr restart web1
      vm-mgr restart web1 web2
    """
    each("restart", names, {})


@click.command("rename")
@name_argument
@options_of("rename")
def rename_command(**given: Any) -> None:
    """Rename a VM that does not run.

    \b
    Example:
      vm-mgr rename web1 --new-name web01
    """
    show_done("rename", given)


@click.command("repair")
def repair_command() -> None:
    """Recover what killed commands left unfinished: finish it, or undo it.

    \b
    Example:
      vm-mgr repair
    """
    recovered = perform("repair", {})
    words = f"recovered: {', '.join(recovered)}" if recovered else "nothing is unfinished"
    answer("repair", {}, recovered, words)


@click.command("unmigrate")
@names_argument
def unmigrate_command(names: list[VmName]) -> None:
    """Remove VMs' leftover move constraints: those of vm-mgr, crm, pcs and crm_resource.

    Without them the cluster places the VM freely again, and may move it at once. A live migration that one of
    them causes is cancelled, even if another command waits for it. The VM keeps running at its source.

    \b
    Example:
      vm-mgr unmigrate web1
    """
    each("unmigrate", names, {}, _removed)


clear_command = unmigrate_command


def _removed(name: VmName, removed: Sequence[Constraint]) -> str:
    words = "\n".join(f"removed {one.id}: {one.text}" for one in removed)
    return words or f"{name} has no leftover move constraints"

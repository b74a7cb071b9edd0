"""Commands that change a VM as a whole: start, stop, enable, migrate, rename, remove and the like."""

from typing import Any

import click

from vm_mgr.cli.answer import answer
from vm_mgr.cli.options import options_of
from vm_mgr.cli.run import name_argument, perform, show_done
from vm_mgr.model.vm import VmName

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
@name_argument
@options_of("start")
def start_command(name: VmName, allow: str | None) -> None:
    """Start a VM and wait until it runs.

    \b
    Example:
      vm-mgr start web1
    """
    show_done("start", {"name": name, "allow_lost_writes": allow is not None})


@click.command("stop")
@name_argument
@options_of("stop")
def stop_command(**given: Any) -> None:
    """Stop a VM and wait until it has stopped. The cluster then leaves it stopped.

    --force is a power cut for the guest. It also helps with a VM that is already stopping and does not end.

    \b
    Example:
      vm-mgr stop web1
    """
    show_done("stop", given)


@click.command("enable")
@name_argument
@options_of("enable")
def enable_command(**given: Any) -> None:
    """Put a Disabled VM under the cluster's control and start it.

    \b
    Example:
      vm-mgr enable web1
    """
    show_done("enable", given)


@click.command("disable")
@name_argument
def disable_command(**given: Any) -> None:
    """Stop a VM and take it out of the cluster's control. Its disks and definition stay.

    \b
    Example:
      vm-mgr disable web1
    """
    show_done("disable", given)


@click.command("remove")
@name_argument
def remove_command(name: VmName) -> None:
    """Stop a VM and delete it with its disks.

    \b
    Example:
      vm-mgr remove web1
    """
    given = {"name": name}
    answer("remove", given, perform("remove", given), f"{name} is removed")


@click.command("restart")
@name_argument
def restart_command(**given: Any) -> None:
    """Shut a VM down and start it again.

    \b
    Example:
      vm-mgr restart web1
    """
    show_done("restart", given)


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
@name_argument
def unmigrate_command(name: VmName) -> None:
    """Remove a VM's leftover move constraints: those of vm-mgr, crm, pcs and crm_resource.

    Without them the cluster places the VM freely again, and may move it at once. A live migration that one of
    them causes is cancelled, even if another command waits for it. The VM keeps running at its source.

    \b
    Example:
      vm-mgr unmigrate web1
    """
    given = {"name": name}
    removed = perform("unmigrate", given)
    words = "\n".join(f"removed {one.id}: {one.text}" for one in removed)
    words = words or f"{name} has no leftover move constraints"
    answer("unmigrate", given, removed, words)


clear_command = unmigrate_command

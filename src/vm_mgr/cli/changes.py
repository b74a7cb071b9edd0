"""Commands that change a VM as a whole: start, stop, enable, migrate, rename, remove and the like."""

import click

from vm_mgr.cli.answer import answer, show_done
from vm_mgr.cli.run import name_argument, run
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
@click.option(
    "--allow",
    type=click.Choice(["lost-writes"]),
    help="Start from the stored disks, although the VM last wrote elsewhere, for example to an overlay.",
)
def start_command(name: VmName, allow: str | None) -> None:
    """Start a VM and wait until it runs.

    \b
    Example:
      vm-mgr start web1
    """
    from vm_mgr.operations.start import start  # noqa: PLC0415

    show_done(run(lambda env: start(env, name, allow_lost_writes=allow is not None)))


@click.command("stop")
@name_argument
@click.option(
    "-f", "--force", is_flag=True, help="Power off at once (virsh destroy) instead of a guest shutdown."
)
def stop_command(name: VmName, force: bool) -> None:  # noqa: FBT001
    """Stop a VM and wait until it has stopped. The cluster then leaves it stopped.

    --force is a power cut for the guest. It also helps with a VM that is already stopping and does not end.

    \b
    Example:
      vm-mgr stop web1
    """
    from vm_mgr.operations.stop import stop  # noqa: PLC0415

    show_done(run(lambda env: stop(env, name, force=force)))


@click.command("enable")
@name_argument
@click.option("--nostart", is_flag=True, help="Leave the VM stopped.")
def enable_command(name: VmName, nostart: bool) -> None:  # noqa: FBT001
    """Put a Disabled VM under the cluster's control and start it.

    \b
    Example:
      vm-mgr enable web1
    """
    from vm_mgr.operations.enable import enable  # noqa: PLC0415

    show_done(run(lambda env: enable(env, name, start=not nostart)))


@click.command("disable")
@name_argument
def disable_command(name: VmName) -> None:
    """Stop a VM and take it out of the cluster's control. Its disks and definition stay.

    \b
    Example:
      vm-mgr disable web1
    """
    from vm_mgr.operations.disable import disable  # noqa: PLC0415

    show_done(run(lambda env: disable(env, name)))


@click.command("remove")
@name_argument
def remove_command(name: VmName) -> None:
    """Stop a VM and delete it with its disks.

    \b
    Example:
      vm-mgr remove web1
    """
    from vm_mgr.operations.remove import remove  # noqa: PLC0415

    run(lambda env: remove(env, name))
    answer(f"{name} is removed", name=name, removed=True)


@click.command("restart")
@name_argument
def restart_command(name: VmName) -> None:
    """Shut a VM down and start it again.

    \b
    Example:
      vm-mgr restart web1
    """
    from vm_mgr.operations.restart import restart  # noqa: PLC0415

    show_done(run(lambda env: restart(env, name)))


@click.command("rename")
@name_argument
@click.option("--new-name", "new", metavar="NEW", required=True, help="The new name.")
def rename_command(name: VmName, new: str) -> None:
    """Rename a VM that does not run.

    \b
    Example:
      vm-mgr rename web1 --new-name web01
    """
    from vm_mgr.operations.rename import rename  # noqa: PLC0415

    show_done(run(lambda env: rename(env, name, VmName(new))))


@click.command("repair")
def repair_command() -> None:
    """Recover what killed commands left unfinished: finish it, or undo it.

    \b
    Example:
      vm-mgr repair
    """
    from vm_mgr.operations.repair import repair  # noqa: PLC0415

    recovered = run(repair)
    words = f"recovered: {', '.join(recovered)}" if recovered else "nothing is unfinished"
    answer(words, recovered=recovered)


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
    from vm_mgr.operations.unmigrate import unmigrate  # noqa: PLC0415

    removed = run(lambda env: unmigrate(env, name))
    words = "\n".join(f"removed {one.id}: {one.text}" for one in removed)
    words = words or f"{name} has no leftover move constraints"
    answer(words, name=name, removed=[{"id": one.id, "text": one.text} for one in removed])


clear_command = unmigrate_command

"""The command set."""

from typing import Any

import click

from vm_mgr.cli.answer import answer
from vm_mgr.cli.disks import bytes_of
from vm_mgr.cli.run import allow_option, name_argument, run
from vm_mgr.cli.settings import (
    UNSETTABLE,
    SettingsCommand,
    no_check_option,
    settings_changes,
    settings_options,
)
from vm_mgr.model.on_move import OnMove
from vm_mgr.model.vm import VmName

__all__ = ["set_command"]


@click.command("set", cls=SettingsCommand)
@name_argument
@click.option("--memory", metavar="SIZE", help="The guest's memory from its next start on, for example 4G.")
@click.option(
    "--vcpus", type=click.IntRange(min=1), metavar="N", help="The number of vCPUs from the next start on."
)
@click.option("--description", metavar="TEXT", help="A description, kept in the definition.")
@click.option("--disable-live-migration", is_flag=True, help="Stop the guest when the VM is moved.")
@click.option(
    "--unset",
    multiple=True,
    type=click.Choice(sorted(UNSETTABLE)),
    help="Reset this setting to its default; can be repeated.",
)
@no_check_option
@allow_option
@settings_options
def set_command(name: VmName, memory: str | None, unset: tuple[str, ...], **options: Any) -> None:
    """Change a VM's settings, memory, vCPUs or description. A running VM is not disturbed.

    What the cluster has to know takes effect at once. Memory and vCPUs change at the VM's next start: a
    running guest keeps what it has. Parameters of the resource agent (the --migration-* settings and
    --pacemaker-params) take effect once the VM has been disabled and enabled. KEY= without a value removes a
    note or a pacemaker key.

    \b
    Example:
      vm-mgr set web1 --memory 4G --vcpus 2
      vm-mgr set web1 --priority 10 --unset pinned-host
      vm-mgr set web1 --check qmp=60s --check guest-agent=2m
    """
    from vm_mgr.operations.set_vm import Changes, set_vm  # noqa: PLC0415

    vcpus, description = options.pop("vcpus"), options.pop("description")
    off, on = options.pop("disable_live_migration"), options["live_migration"]
    if off and (on or options["on_move"] == OnMove.MIGRATE.value):
        raise click.UsageError("live migration can't be both enabled and disabled")
    if off and options["on_move"] is None:
        options["on_move"] = OnMove.RESTART.value
    allow = options.pop("allow")
    settings = settings_changes(options)
    settings |= dict.fromkeys(UNSETTABLE[key] for key in unset)
    memory_bytes = bytes_of(memory) if memory is not None else None
    changes = Changes(settings, memory_bytes, vcpus, description, allow)
    if changes._replace(allow=()) == Changes():
        raise click.UsageError("say what to change; see: vm-mgr set --help")
    changed = run(lambda env: set_vm(env, name, changes))
    answer(f"{name} is changed" if changed else "", name=name, changed=bool(changed))

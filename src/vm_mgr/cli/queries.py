"""Commands that look: list, status."""

import click

from vm_mgr.cli.render import print_list, print_status
from vm_mgr.cli.run import chosen_name, name_argument, output_option, run
from vm_mgr.model.vm import VmName

__all__ = ["list_command", "status_command"]


@click.command("list")
@output_option
def list_command(output: str) -> None:
    """List all VMs, with state and node.

    \b
    Example:
      vm-mgr list --output json
    """
    from vm_mgr.operations.list_vms import list_vms  # noqa: PLC0415

    print_list(run(list_vms), output)


@click.command("status")
@name_argument
@output_option
def status_command(named: str | None, plain: str | None, output: str) -> None:
    """Show the state of a VM: Undefined, Disabled, Failed, Started, Starting, Stopping or Stopped.

    \b
    Example:
      vm-mgr status web1
    """
    from vm_mgr.operations.status import status  # noqa: PLC0415

    name = VmName(chosen_name(named, plain))
    print_status(run(lambda env: status(env, name)), output)

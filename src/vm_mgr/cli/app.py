"""Collect the sub-commands; each one's module is imported only when it is used."""

from importlib import import_module

import click

__all__ = ["app"]

_COMMANDS = {
    "completion": "completion",
    "create": "create",
    "disable": "changes",
    "enable": "changes",
    "list": "queries",
    "migrate": "changes",
    "remove": "changes",
    "start": "changes",
    "status": "queries",
    "stop": "changes",
}
_SUMMARIES = {
    "completion": "Print a shell's completion script.",
    "create": "Create a VM from a disk image and a domain definition.",
    "disable": "Stop a VM and take it out of the cluster's control; its disk stays.",
    "enable": "Put a defined VM under the cluster's control and start it.",
    "list": "List all VMs.",
    "migrate": "Move a running VM to another node.",
    "remove": "Remove a VM and its disks.",
    "start": "Start a VM.",
    "status": "Show the state of a VM.",
    "stop": "Stop a VM.",
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and loads the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Name the commands."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load a command."""
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        found: click.Command = getattr(import_module(f"vm_mgr.cli.{module}"), f"{cmd_name}_command")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Show the summaries without loading the commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_SUMMARIES.items()))


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Log every command that is run, and show tracebacks.")
@click.pass_context
def app(ctx: click.Context, debug: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Run highly available virtual machines on Pacemaker, libvirt and Ceph.

    \b
    Example:
      vm-mgr create --name web1 --xml web1.xml --image web1.qcow2
      vm-mgr list
    """
    ctx.meta["debug"] = debug

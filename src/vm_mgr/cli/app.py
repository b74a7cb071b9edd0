"""Collect the sub-commands; each one's module is imported only when it is used."""

from importlib import import_module

import click

__all__ = ["app"]

# name → module that has it, summary; older scripts write underscores for the dashes
_COMMANDS = {
    "add-colocation": ("placement", "Keep a VM where others run."),
    "add-pacemaker-remote": ("placement", "Let the cluster manage resources inside a VM."),
    "add-to-cluster": ("takeover", "Take over a VM that this node's libvirt keeps."),
    "clone": ("clone", "Make a VM from another one, at once."),
    "completion": ("completion", "Print a shell's completion script."),
    "create": ("create", "Create a VM from a disk image and a domain definition."),
    "create-snapshot": ("snapshots", "Take a snapshot of all disks of a VM."),
    "disable": ("changes", "Stop a VM and take it out of the cluster's control; its disk stays."),
    "enable": ("changes", "Put a defined VM under the cluster's control and start it."),
    "get-metadata": ("metadata", "Print a note that is kept with a VM."),
    "list": ("queries", "List all VMs."),
    "list-colocation": ("placement", "List what a VM is kept together with or apart from."),
    "list-metadata": ("metadata", "List what is stored with a VM."),
    "list-snapshots": ("snapshots", "List a VM's snapshots."),
    "migrate": ("changes", "Move a running VM to another node."),
    "purge": ("snapshots", "Remove many snapshots of a VM."),
    "remove": ("changes", "Remove a VM and its disks."),
    "remove-colocation": ("placement", "Forget what a VM is kept together with or apart from."),
    "remove-pacemaker-remote": ("placement", "Let the cluster forget the node inside a VM."),
    "remove-snapshot": ("snapshots", "Remove a snapshot."),
    "rename": ("changes", "Give a VM another name."),
    "repair": ("changes", "Settle what killed commands left unfinished."),
    "resize-disk": ("disks", "Make a VM's disk larger."),
    "restart": ("changes", "Stop a VM and start it again."),
    "rollback": ("snapshots", "Take a VM's disks back to a snapshot."),
    "separate": ("placement", "Keep a VM away from others."),
    "set-metadata": ("metadata", "Keep a note with a VM."),
    "start": ("changes", "Start a VM."),
    "status": ("queries", "Show the state of a VM."),
    "stop": ("changes", "Stop a VM."),
}


def _dashed(word: str) -> str:
    return word.replace("_", "-")


_SETTINGS = {"help_option_names": ["-h", "--help"], "token_normalize_func": _dashed}


class LazyGroup(click.Group):
    """A group that knows its commands' names and loads the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Name the commands."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load a command."""
        name = _dashed(cmd_name)
        if name not in _COMMANDS:
            return None
        module = import_module(f"vm_mgr.cli.{_COMMANDS[name][0]}")
        found: click.Command = getattr(module, f"{name.replace('-', '_')}_command")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Show the summaries without loading the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings=_SETTINGS)
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

"""The command clone."""

from typing import Any

import click

from vm_mgr.cli.answer import show_done
from vm_mgr.cli.complete import files
from vm_mgr.cli.create import read_definition
from vm_mgr.cli.run import name_argument, run
from vm_mgr.cli.settings import (
    SettingsCommand,
    allow_option,
    no_check_option,
    settings_from,
    settings_options,
)
from vm_mgr.model.vm import VmName, VmSettings, VmStatus
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.pacemaker_remote import without_remote
from vm_mgr.ports.env import Env

__all__ = ["clone_command"]


@click.command("clone", cls=SettingsCommand)
@name_argument
@click.option("--dst-name", "new", metavar="NEW", required=True, help="The name of the new VM.")
@click.option(
    "--xml",
    "xml_path",
    metavar="FILE",
    shell_complete=files,
    help="Use this definition instead of the source's.",
)
@click.option("--full", is_flag=True, help="Copy the disks instead of sharing their blocks.")
@click.option(
    "--clear-constraint",
    is_flag=True,
    help="Don't take over the pinned or preferred host, the failback and the colocations.",
)
@click.option("--clear-pacemaker-meta", is_flag=True, help="Don't take over the meta attributes.")
@click.option("--clear-pacemaker-params", is_flag=True, help="Don't take over the agent's parameters.")
@click.option("--clear-pacemaker-utilization", is_flag=True, help="Don't take over the utilization.")
@click.option("--disable", is_flag=True, help="Keep the VM out of the cluster's control for now.")
@click.option("--nostart", is_flag=True, help="Leave the VM stopped.")
@click.option("--force", is_flag=True, help="Replace an existing VM of the new name, with its disks.")
@no_check_option
@allow_option
@settings_options
def clone_command(name: VmName, new: str, xml_path: str | None, **options: Any) -> None:
    """Clone a VM at once. Both VMs share the blocks that neither has changed.

    The new VM has its own name, UUID and network addresses. A running source is quiesced for a moment.

    \b
    Example:
      vm-mgr clone web1 --dst-name web2
    """
    cleared = [word for word in ("meta", "params", "utilization") if options.pop(f"clear_pacemaker_{word}")]
    unplaced, full, allow = options.pop("clear_constraint"), options.pop("full"), options.pop("allow")
    enable, start, force = not options.pop("disable"), not options.pop("nostart"), options.pop("force")

    def settings(source: VmSettings) -> VmSettings:
        made = settings_from(options, _cleared(source, cleared, unplaced=unplaced))
        return made._replace(checks={check: text for check, text in made.checks.items() if text})

    def operation(env: Env) -> VmStatus:
        xml = read_definition(xml_path) if xml_path else ""
        return clone(env, CloneRequest(name, VmName(new), settings, xml, full, enable, start, force, allow))

    show_done(run(operation))


def _cleared(base: VmSettings, words: list[str], *, unplaced: bool) -> VmSettings:
    if unplaced:
        base = base._replace(pinned_host=None, preferred_host=None, failback=None, colocations={})
    nothing: dict[str, Any] = {f"pacemaker_{word}": {} for word in words}
    return without_remote(base._replace(**nothing))

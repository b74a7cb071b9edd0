"""The command add-to-cluster."""

from typing import Any

import click

from vm_mgr.cli.dry_run import confirm_replacement, yes_option
from vm_mgr.cli.options import options_of
from vm_mgr.cli.run import name_argument, show_done
from vm_mgr.cli.settings import SettingsCommand, progress_option, settings_from
from vm_mgr.model.vm import VmName
from vm_mgr.operations.add_to_cluster import Takeover

__all__ = ["add_to_cluster_command"]


@click.command("add-to-cluster", cls=SettingsCommand)
@name_argument
@options_of("add-to-cluster")
@yes_option
@progress_option
def add_to_cluster_command(name: VmName, new: str | None, **options: Any) -> None:
    """Take over a stopped VM from this node's libvirt.

    vm-mgr copies and compares its disks, then removes the VM from libvirt. Its old files stay where they are.

    \b
    Example:
      vm-mgr add-to-cluster old1 --new-name web1
    """
    confirm_replacement(new or name, force=options["force"], yes=options.pop("yes"))
    settings = settings_from(options)
    given = {key: value for key, value in options.items() if value is not None}
    show_done("add-to-cluster", {"request": Takeover(name, VmName(new or name), settings, **given)})

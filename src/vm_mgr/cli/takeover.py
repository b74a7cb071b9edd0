"""The command add-to-cluster."""

from typing import Any

import click

from vm_mgr.cli.answer import show_done
from vm_mgr.cli.complete import files
from vm_mgr.cli.run import name_argument, run
from vm_mgr.cli.settings import (
    SettingsCommand,
    allow_any_option,
    settings_from,
    settings_options,
    storage_option,
)
from vm_mgr.model.vm import VmName
from vm_mgr.operations.add_to_cluster import Takeover, add_to_cluster

__all__ = ["add_to_cluster_command"]


@click.command("add-to-cluster", cls=SettingsCommand)
@name_argument
@click.option(
    "-i",
    "--image",
    metavar="FILE",
    shell_complete=files,
    help="Use this image as system disk instead of the definition's.",
)
@click.option("--new-name", "new", metavar="NEW", help="The VM's name in the cluster.")
@click.option("--disable", is_flag=True, help="Keep the VM out of the cluster's control for now.")
@click.option("--nostart", is_flag=True, help="Leave the VM stopped.")
@click.option("--force", is_flag=True, help="Replace an existing VM of the new name, with its disks.")
@click.option("-p", "--progress", is_flag=True, help="Accepted for older scripts; progress is always shown.")
@storage_option
@allow_any_option
@settings_options
def add_to_cluster_command(name: VmName, image: str | None, new: str | None, **options: Any) -> None:
    """Take over a stopped VM from this node's libvirt.

    vm-mgr copies and compares its disks, then removes the VM from libvirt. Its old files stay where they are.

    \b
    Example:
      vm-mgr add-to-cluster old1 --new-name web1
    """
    enable, start, force = not options.pop("disable"), not options.pop("nostart"), options.pop("force")
    options.pop("progress")
    storage, allow = options.pop("storage") or "", options.pop("allow")
    settings = settings_from(options)
    request = Takeover(name, VmName(new or name), settings, image or "", enable, start, force, storage, allow)
    show_done(run(lambda env: add_to_cluster(env, request)))

"""The command add-to-cluster."""

from typing import Any

import click

from vm_mgr.cli.answer import answer
from vm_mgr.cli.create import read_definition
from vm_mgr.cli.dry_run import confirm_replacement, yes_option
from vm_mgr.cli.options import options_of
from vm_mgr.cli.render import done_words
from vm_mgr.cli.run import name_argument, run
from vm_mgr.cli.settings import SettingsCommand, progress_option, settings_from
from vm_mgr.model.vm import VmName, VmStatus
from vm_mgr.operations.add_to_cluster import Takeover
from vm_mgr.operations.registry import OPERATIONS
from vm_mgr.ports.env import Env

__all__ = ["add_to_cluster_command"]


@click.command("add-to-cluster", cls=SettingsCommand)
@name_argument
@options_of("add-to-cluster")
@yes_option
@progress_option
def add_to_cluster_command(name: VmName, new: str | None, xml: str | None, **options: Any) -> None:
    """Take over a stopped VM from this node's libvirt, or from another agent of the cluster.

    vm-mgr copies and compares its disks, then removes the VM from libvirt. Its old files stay where they are.
    A VM that ocf:heartbeat:VirtualDomain runs keeps its name, and the constraints that name it.

    \b
    Example:
      vm-mgr add-to-cluster old1 --new-name web1
      vm-mgr add-to-cluster app --xml /etc/libvirt/qemu/app.xml
    """
    confirm_replacement(new or name, force=options["force"], yes=options.pop("yes"))
    settings = settings_from(options)
    given = {key: value for key, value in options.items() if value is not None}
    request = Takeover(name, VmName(new or name), settings, **given)

    def operation(env: Env) -> VmStatus:
        text = read_definition(xml, env.say) if xml else ""
        made: VmStatus = OPERATIONS["add-to-cluster"].load()(env, request._replace(xml=text))
        return made

    vm = run(operation)
    answer("add-to-cluster", {"request": request}, vm, done_words(vm))

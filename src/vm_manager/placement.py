"""Keep VMs together, and let the cluster manage what runs inside of one."""

from vm_manager.environment import working
from vm_manager.exceptions import ArgumentError
from vm_manager.options import number
from vm_mgr.model.vm import VmName
from vm_mgr.operations import colocation, pacemaker_remote

__all__ = ["add_colocation", "add_pacemaker_remote", "remove_pacemaker_remote"]


def add_colocation(vm_name: str, *resources: str, strong: bool = False) -> None:
    """Let the VM run where other VMs or resources run: preferably, or only there if strong."""
    if not resources:
        raise ArgumentError("no other VM or resource is named", hint="name at least one")
    with working() as env:
        colocation.add_colocation(env, VmName(vm_name), resources, strong=strong, restart_others=True)


def add_pacemaker_remote(
    vm_name: str,
    remote_node: str,
    remote_node_address: str,
    remote_node_port: str | int | None = None,
    remote_node_timeout: str | int | None = None,
) -> None:
    """Make the VM's guest a node of the cluster by this name, reached at this address; timeout in seconds."""
    given = {"remote_node_port": remote_node_port, "remote_node_timeout": remote_node_timeout}
    port, timeout_s = (number(given, key, least=0) for key in given)
    with working() as env:
        pacemaker_remote.add_pacemaker_remote(
            env, VmName(vm_name), remote_node, remote_node_address, port=port, timeout_s=timeout_s
        )


def remove_pacemaker_remote(vm_name: str) -> None:
    """Make the guest a guest only."""
    with working() as env:
        pacemaker_remote.remove_pacemaker_remote(env, VmName(vm_name))

"""Remove a VM with its disks."""

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.vm import VmName, VmState, VmStatus
from vm_mgr.operations.checks import quorum_problems
from vm_mgr.operations.disable import withdraw
from vm_mgr.ports.env import Env

__all__ = ["remove"]


def remove(env: Env, name: VmName) -> VmStatus:
    """Stop the VM, take it out of the cluster, delete its disks, or what a killed creation left of them."""
    state = env.cluster.state()
    raise_all(quorum_problems(state))
    resource = state.resources.get(name)
    enabled = resource is not None and resource.is_vm
    if enabled:
        withdraw(env, name)
    if not env.storage.remove(name) and not enabled:
        raise VmMgrError(Kind.NOT_FOUND, f"there is no VM {name!r}", hint="see the VMs: vm-mgr list")
    return VmStatus(name, VmState.UNDEFINED)

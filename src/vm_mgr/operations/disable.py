"""Take a VM out of the cluster's control, keeping its disk and definition."""

from vm_mgr.errors import raise_all
from vm_mgr.model.vm import VmName, VmState, VmStatus
from vm_mgr.operations.checks import quorum_problems, resource_of
from vm_mgr.operations.stop import stop
from vm_mgr.ports.env import Env

__all__ = ["disable", "withdraw"]


def disable(env: Env, name: VmName) -> VmStatus:
    """Stop the VM and remove its resource and constraints."""
    state = env.cluster.state()
    raise_all(quorum_problems(state))
    resource_of(env, state, name)
    withdraw(env, name)
    return VmStatus(name, VmState.DISABLED)


def withdraw(env: Env, name: VmName) -> None:
    """Stop a VM that the cluster has, then forget it; the other way round it would stop as an orphan."""
    stop(env, name)
    env.cluster.remove(name)

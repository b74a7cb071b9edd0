"""Stop a VM."""

from vm_mgr.errors import VmMgrError, raise_all
from vm_mgr.model.vm import TargetRole, VmName, VmStatus
from vm_mgr.operations.alone import alone_if_reachable
from vm_mgr.operations.checks import quorum_problems, resource_of
from vm_mgr.operations.disable import STOP_TIMEOUT_S
from vm_mgr.operations.waiting import known_settings, wait_stopped
from vm_mgr.ports.env import Env

__all__ = ["stop"]


def stop(env: Env, name: VmName) -> VmStatus:
    """Ask for the VM not to run and wait until it has stopped; that needs no storage."""
    with alone_if_reachable(env, name):
        state = env.cluster.state()
        raise_all(quorum_problems(state))
        resource_of(env, state, name)
        env.cluster.set_target_role(name, TargetRole.STOPPED)
    return wait_stopped(env, name, _timeout_s(env, name))


def _timeout_s(env: Env, name: VmName) -> int:
    try:
        return known_settings(env, name).stop_timeout_s or STOP_TIMEOUT_S
    except VmMgrError:
        return STOP_TIMEOUT_S

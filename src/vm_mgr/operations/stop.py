"""Stop a VM."""

from vm_mgr.errors import raise_all
from vm_mgr.model.vm import TargetRole, VmName, VmStatus
from vm_mgr.operations.alone import alone
from vm_mgr.operations.checks import quorum_problems, resource_of
from vm_mgr.operations.disable import STOP_TIMEOUT_S
from vm_mgr.operations.waiting import known_settings, wait_stopped
from vm_mgr.ports.env import Env

__all__ = ["stop"]


def stop(env: Env, name: VmName) -> VmStatus:
    """Ask for the VM not to run and wait until it has stopped."""
    with alone(env, name):
        state = env.cluster.state()
        raise_all(quorum_problems(state))
        resource_of(env, state, name)
        env.cluster.set_target_role(name, TargetRole.STOPPED)
    return wait_stopped(env, name, known_settings(env, name).stop_timeout_s or STOP_TIMEOUT_S)

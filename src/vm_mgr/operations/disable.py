"""Take a VM out of the cluster's control, keeping its disk and definition."""

from vm_mgr.errors import raise_all
from vm_mgr.interruption import current
from vm_mgr.model.cluster import Resource
from vm_mgr.model.intent import Intent
from vm_mgr.model.vm import TargetRole, VmName, VmState, VmStatus
from vm_mgr.operations.lifecycle.waiting import known_settings, wait_stopped
from vm_mgr.operations.migration.blocked import release_blocked
from vm_mgr.operations.storage.overlay import overlay_problems
from vm_mgr.operations.support.locking import locked, with_intent
from vm_mgr.operations.support.preconditions import require_ready, resource_of
from vm_mgr.ports.env import Env

__all__ = ["disable", "halt", "recover", "role_of"]

STOP_TIMEOUT_S = 30


def disable(env: Env, name: VmName) -> VmStatus:
    """Stop the VM and remove its resource and constraints."""
    with locked(env, name):
        state = require_ready(env, "disable", name)
        resource = resource_of(env, state, name)
        raise_all(overlay_problems(env, state, name))
        with with_intent(env, name, "disable", was=role_of(resource)):
            halt(env, name)
            env.cluster.remove(name)
    return VmStatus(name, VmState.DISABLED)


def recover(env: Env, name: VmName, intent: Intent) -> bool:
    """Let a VM that the cluster still has run again, if it was to run."""
    present = name in env.cluster.state().resources
    if present:
        env.cluster.set_target_role(name, TargetRole(intent.details["was"]))
    return not present


def halt(env: Env, name: VmName) -> None:
    """Stop a VM that the cluster has; only a stopped one may leave it, or it would stop as an orphan."""
    resource = env.cluster.state().resources.get(name)
    if resource is not None:
        release_blocked(env, resource)
    if resource is not None and resource.active:
        current.halting(name)
    env.cluster.set_target_role(name, TargetRole.STOPPED)
    wait_stopped(env, name, known_settings(env, name).stop_timeout_s or STOP_TIMEOUT_S)


def role_of(resource: Resource | None) -> str:
    """Give what the cluster was asked for, or nothing for a VM that it doesn't have."""
    if resource is None or not resource.is_vm:
        return ""
    stopped = resource.target_role == TargetRole.STOPPED.value
    return "Stopped" if stopped else "Started"

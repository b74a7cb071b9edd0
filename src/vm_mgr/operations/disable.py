"""Take a VM out of the cluster's control, keeping its disk and definition."""

from vm_mgr.errors import VmMgrError, raise_all
from vm_mgr.interruption import current
from vm_mgr.model.cluster import OWN_AGENT, Resource
from vm_mgr.model.intent import Intent
from vm_mgr.model.vm import TargetRole, VmName, VmState, VmStatus
from vm_mgr.operations.enable import resource_for
from vm_mgr.operations.lifecycle.power_off import tell_power_off
from vm_mgr.operations.lifecycle.waiting import known_settings, wait_stopped
from vm_mgr.operations.migration.blocked import release_blocked
from vm_mgr.operations.storage.overlay import overlay_problems
from vm_mgr.operations.support.locking import locked, with_intent
from vm_mgr.operations.support.preconditions import require_ready, resource_of
from vm_mgr.operations.support.removal import removal_problems
from vm_mgr.ports.cluster import VmResource
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["disable", "expected_of", "halt", "recover", "role_of", "tell_kept"]

OURS = "vm-mgr-"

STOP_TIMEOUT_S = 30


def disable(env: Env, name: VmName) -> VmStatus:
    """Stop the VM and remove its resource and constraints."""
    with locked(env, name):
        state = require_ready(env, "disable", name)
        resource = resource_of(env, state, name)
        raise_all(removal_problems(env, resource, "not disabled") + overlay_problems(env, state, name))
        expected = expected_of(env, name)
        tell_kept(env, resource)
        with with_intent(env, name, "disable", was=role_of(resource)):
            halt(env, name)
            env.cluster.remove(name, expected)
    return VmStatus(name, VmState.DISABLED)


def expected_of(env: Env, name: VmName) -> VmResource | None:
    """Give how a VM is to be run by its settings, to tell from what others have set; None if that fails."""
    try:
        return resource_for(env, name, env.storage.definitions.settings(name), start=True)
    except VmMgrError as error:
        text = f"what others have set for {name} in the cluster is not kept: {error.message}"
        env.say(Note(Level.WARNING, "not-kept", text, error.hint))
        return None


def tell_kept(env: Env, resource: Resource) -> None:
    """Name the constraints and tags of others that a VM has, and what becomes of them."""
    found = [
        one for one in env.cluster.configured(VmName(resource.name)).others if not one.id.startswith(OURS)
    ]
    lost = [one for one in found if one.kind == "location" and resource.agent != OWN_AGENT]
    kept = [f"{one.id} ({one.text})" for one in found if one not in lost]
    if kept:
        text = f"kept for its return into the cluster: {', '.join(kept)}"
        env.say(Note(Level.INFO, "kept", text))
    if lost:
        text = f"removed, since the settings of {resource.name} take their place: "
        text += ", ".join(f"{one.id} ({one.text})" for one in lost)
        env.say(Note(Level.WARNING, "not-kept", text, f"see: vm-mgr show {resource.name}"))


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
    began_utc = env.clock.utc()
    env.cluster.set_target_role(name, TargetRole.STOPPED)
    timeout_s = known_settings(env, name).stop_timeout_s or STOP_TIMEOUT_S
    wait_stopped(env, name, timeout_s)
    tell_power_off(env, name, began_utc, timeout_s)


def role_of(resource: Resource | None) -> str:
    """Give what the cluster was asked for, or nothing for a VM that it doesn't have."""
    if resource is None or not resource.is_vm:
        return ""
    stopped = resource.target_role == TargetRole.STOPPED.value
    return "Stopped" if stopped else "Started"

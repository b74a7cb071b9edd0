"""Stop a VM."""

from vm_mgr.errors import VmMgrError, raise_all
from vm_mgr.interruption import current
from vm_mgr.model.cluster import ClusterState, NodeName, Resource
from vm_mgr.model.vm import TargetRole, VmName, VmStatus
from vm_mgr.operations.disable import STOP_TIMEOUT_S
from vm_mgr.operations.lifecycle.power_off import with_power_off
from vm_mgr.operations.lifecycle.saved_memory import discard, with_saved
from vm_mgr.operations.lifecycle.waiting import known_settings, wait_stopped
from vm_mgr.operations.migration.blocked import release_blocked
from vm_mgr.operations.status import status
from vm_mgr.operations.storage.overlay import overlay_problems
from vm_mgr.operations.support.locking import asked, locked_if_reachable
from vm_mgr.operations.support.preconditions import (
    quorum_problems,
    require_ready,
    resource_of,
    unmanaged_problems,
)
from vm_mgr.operations.support.removal import warn_of_followers
from vm_mgr.operations.support.vm_state import unmanaged_words
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note, Progress

__all__ = ["stop"]

POLL_S = 0.25
# How long the cluster may take to begin the stop that it was asked for.
BEGIN_S = 5.0
UNPLUG_S = 20.0


def stop(env: Env, name: VmName, *, force: bool = False) -> VmStatus:
    """Ask for the VM not to run and wait until it has stopped; that needs no storage.

    By force it is powered off, once the cluster is stopping it (docs/design/0007-forced-stop.md). That also
    helps another command that waits for this VM to stop, so there it comes first. Then saved memory is
    given up, too.
    """
    if force:
        raise_all(_force_problems(env, env.cluster.state(), name))
    unplugged = force and _unplug(env, name)
    with locked_if_reachable(env, name):
        state = env.cluster.state() if force else require_ready(env, "stop", name)
        raise_all(quorum_problems(state) + _force_problems(env, state, name))
        if unplugged and name not in state.resources:
            return status(env, name)  # the other command disabled or removed it
        resource = resource_of(env, state, name)
        raise_all([] if force else overlay_problems(env, state, name))
        warn_of_followers(env, resource)
        if resource.active or not _is_to_stop(resource):
            asked(env, name, "stop")
        release_blocked(env, resource)
        if resource.active:
            current.halting(name)
        began_utc = env.clock.utc()
        env.cluster.set_target_role(name, TargetRole.STOPPED)
        if force:
            _unplug(env, name)  # before a storage that hangs is asked for anything more
    undo = f"; the cluster still stops it as soon as it can: vm-mgr start {name} takes that back"
    timeout_s = _timeout_s(env, name)
    seen = wait_stopped(env, name, timeout_s, undo)
    if not force:
        return with_saved(env, with_power_off(env, seen, began_utc, timeout_s))
    _give_up(env, name)
    return seen


def _force_problems(env: Env, state: ClusterState, name: VmName) -> list[VmMgrError]:
    """Refuse to power off behind the cluster's back, which would go on calling the VM Started."""
    resource = state.resources.get(name)
    return unmanaged_problems(env, state, name) if resource is not None and resource.active else []


def _give_up(env: Env, name: VmName) -> None:
    """Have its next start boot it; a storage that hangs is no reason why it can't be stopped."""
    try:
        discard(env, name)
    except VmMgrError as error:
        text = f"whether the memory of {name} is saved is unknown: {error.message}"
        env.say(Note(Level.WARNING, "not-seen", text, error.hint))


def _unplug(env: Env, name: VmName) -> bool:
    """Destroy a VM that is to stop, wherever it runs; the agent, which waits for its guest, finds it gone.

    Unplugging one that is not to stop would only make the cluster recover it. Tells whether it was to stop.
    """
    deadline = env.clock.monotonic() + BEGIN_S
    while True:
        state = env.cluster.state()
        resource = state.resources.get(name)
        if resource is None or not (resource.is_vm and resource.active and _is_to_stop(resource)):
            return False
        if unmanaged_words(state, resource):
            return False  # the cluster would not know
        if _has_begun(resource) or env.clock.monotonic() > deadline:
            break
        env.say(Progress(f"stopping {name}"))
        env.clock.sleep(POLL_S)
    asked(env, name, "stop")
    for node in resource.nodes:
        _destroy(env, state, name, node)
    if resource.blocked:
        env.cluster.cleanup(name)  # the cluster checks again, and finds it stopped
    return True


def _is_to_stop(resource: Resource) -> bool:
    return resource.target_role == TargetRole.STOPPED.value


def _has_begun(resource: Resource) -> bool:
    """Tell whether the agent is at it; before, a monitor might take the VM's end for a failure."""
    return resource.blocked or "Stopping" in (resource.role, resource.pending)


def _destroy(env: Env, state: ClusterState, name: VmName, node: NodeName) -> None:
    seen = state.node(node)
    if seen is None or not seen.online:
        return  # fencing will
    hypervisor = env.hypervisor_at(node)
    try:
        try:
            hypervisor.destroy(name, timeout_s=UNPLUG_S)
        except VmMgrError:
            if hypervisor.domain_state(name, timeout_s=UNPLUG_S) != "absent":
                raise
    except VmMgrError as error:
        text = f"{name} could not be powered off on {node}: {error.message}"
        hint = "the agent there does it when the time for a stop is over"
        env.say(Note(Level.WARNING, "not-unplugged", text, hint))


def _timeout_s(env: Env, name: VmName) -> int:
    try:
        return known_settings(env, name).stop_timeout_s or STOP_TIMEOUT_S
    except VmMgrError:
        return STOP_TIMEOUT_S

"""Let the cluster act again on a VM that a failed live migration holds where it runs.

Nobody may be waiting: the agent has this called on the node where the migration has failed, again and again
until it is done (docs/design/0010-clean-abort.md).
"""

from contextlib import ExitStack
from enum import Enum

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.pause import PauseReason
from vm_mgr.model.vm import VmName
from vm_mgr.operations.migration.halves import destroy_second, end_halves
from vm_mgr.ports.env import Env

__all__ = ["Presence", "is_shutting_down", "presence_of", "unblock"]

LOOK_S = 5.0
# Within this time the cluster begins to recover; the history that this is about goes with the node.
RESTART_S = 600


class Presence(Enum):
    """What can be proven of a VM on this node."""

    RUNS = "runs here, and nowhere else"
    TWICE = "runs here, and on another node"
    GONE = "has no process here"
    LEFT = "is paused here, and has left for another node"
    UNKNOWN = "unknown"


def unblock(env: Env, name: VmName, *, patient: bool = True) -> bool:
    """Clear the failure, and only that; False where it has to be looked at again later.

    On a node that is being shut down nothing is cleared while the VM may run there: until it has looked, the
    cluster takes the VM for stopped, and lets the node go. There the VM is stopped and started instead, and
    so it is where it runs twice, and where a guest that stands can't be let go on for too long (not patient).
    """
    state, here = env.cluster.state(), env.cluster.local_node()
    resource = state.resources.get(name)
    if resource is None or resource.blocked_on != here:
        return resource is None or not resource.in_transition
    if not state.quorate:
        return False
    place, leaving = presence_of(env, name), is_shutting_down(env, here)
    gives_up = place is Presence.UNKNOWN and not patient and _stands(env, name)
    if not leaving and ((place is Presence.UNKNOWN and not gives_up) or _is_being_moved(env, name)):
        return False
    if place is Presence.TWICE:
        destroy_second(env, name, end_halves(env, name, here).runs)
    env.cluster.end_move(name)
    if (leaving and place is not Presence.GONE) or gives_up or place is Presence.TWICE:
        env.cluster.recover_blocked(name, lifetime_s=RESTART_S)
    elif place is Presence.RUNS:
        env.cluster.cleanup_failed(name, here, "migrate_to")
    else:
        # It may have arrived, or have ended: only a look at every node tells, and starts it if it is on none.
        # What stands elsewhere by now nobody can let go on: whether its source went on is not known.
        if place is Presence.GONE:
            end_halves(env, name, here)
        env.cluster.reprobe(name)
    return True


def is_shutting_down(env: Env, node: NodeName) -> bool:
    """Tell whether a node is being shut down, which must not wait for ever."""
    seen = env.cluster.state().node(node)
    return seen is not None and seen.shutting_down


def presence_of(env: Env, name: VmName) -> Presence:
    """Look at process, guest and the other nodes; one that stands since the migration is let go on if it may.

    A guest that has begun to run at the target by post-copy can't go on here any more.
    """
    try:
        if env.processes.find_vm(name) is None:
            return Presence.UNKNOWN if _is_being_ended(env, name) else Presence.GONE
        if env.hypervisor.migration_progress(name) is not None:
            return Presence.UNKNOWN
        reason = env.hypervisor.paused(name, timeout_s=LOOK_S)
        return Presence.LEFT if reason.is_postcopy else _presence_beside(env, name, reason)
    except VmMgrError:
        return Presence.UNKNOWN


def _presence_beside(env: Env, name: VmName, reason: PauseReason) -> Presence:
    """Go by what the other nodes have of it; reason is why its guest is paused here."""
    others, stands = end_halves(env, name, env.cluster.local_node()), not reason.is_wanted
    if others.runs:
        return _left(env, name) if stands else Presence.TWICE
    if others.unsure:
        return Presence.UNKNOWN
    if stands:
        env.hypervisor.take_back(name)
        stands = not env.hypervisor.paused(name, timeout_s=LOOK_S).is_wanted
    return Presence.UNKNOWN if stands else Presence.RUNS


def _is_being_ended(env: Env, name: VmName) -> bool:
    """Tell whether libvirt is just about to see that the process has ended; a moment later it tells why."""
    try:
        return env.hypervisor.domain_state(name, timeout_s=LOOK_S) not in ("absent", "shut off")
    except VmMgrError:
        return False


def _left(env: Env, name: VmName) -> Presence:
    """End the half that stands here of a VM that runs at its target: it has nothing that is not there."""
    env.hypervisor.destroy(name, timeout_s=LOOK_S)
    return Presence.LEFT


def _stands(env: Env, name: VmName) -> bool:
    """Tell whether the guest is paused since the migration; where libvirt does not answer, it may run."""
    try:
        return not env.hypervisor.paused(name, timeout_s=LOOK_S).is_wanted
    except VmMgrError:
        return False


def _is_being_moved(env: Env, name: VmName) -> bool:
    """Tell whether a command is at work that sees to it by itself: it has a constraint, and locks the VM."""
    if not any(one.leftover for one in env.cluster.configured(name).others):
        return False
    with ExitStack() as claim:
        try:
            claim.enter_context(env.intent_log.lock(name))
        except VmMgrError as error:
            return error.kind is Kind.TRY_LATER  # a storage that is down has no command either
    return False

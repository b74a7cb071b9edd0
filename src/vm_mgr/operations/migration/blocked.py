"""Let the cluster act on a VM that a failed live migration holds (docs/design/0010-clean-abort.md)."""

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName, Resource
from vm_mgr.model.pause import PauseReason
from vm_mgr.model.vm import VmName
from vm_mgr.ports.env import Env
from vm_mgr.ports.hypervisor import Hypervisor
from vm_mgr.reports import Progress

__all__ = ["has_arrived", "release_blocked", "running_elsewhere"]

POLL_S = 0.25
SETTLE_S = 30.0
LOOK_S = 10.0


def release_blocked(env: Env, resource: Resource) -> None:
    """Have every node looked at, and wait until the cluster knows again where the VM runs.

    Until then it takes the VM for one that is stopped: who asks it to stop in between would believe that. And
    it would let a node go that is being shut down, whose own timer sees to the VM
    (operations/migration/unblock.py).
    Raises TRY_LATER where it is not known in time.
    """
    if not resource.blocked_on:
        return
    blocked_on = env.cluster.state().node(resource.blocked_on)
    if blocked_on is None or blocked_on.shutting_down:
        return
    env.cluster.reprobe(VmName(resource.name))
    deadline = env.clock.monotonic() + SETTLE_S
    while env.clock.monotonic() < deadline:
        seen = env.cluster.state().resources.get(resource.name)
        if seen is None or (seen.active and not seen.blocked_on and not seen.pending):
            return
        env.say(Progress(f"looking where {resource.name} runs"))
        env.clock.sleep(POLL_S)
    # Who went on now would take a VM that runs for one that is stopped.
    message = f"the cluster has not yet found where {resource.name} runs, after {SETTLE_S:.0f} s"
    raise VmMgrError(Kind.TRY_LATER, message, hint=f"look: vm-mgr status {resource.name}; then again")


def has_arrived(hypervisor: Hypervisor, name: VmName, timeout_s: float) -> bool:
    """Tell whether it runs there: a guest that its user had paused arrives paused.

    Any other pause is one of the migration.
    """
    state = hypervisor.domain_state(name, timeout_s=timeout_s)
    stands = state == "paused" and hypervisor.paused(name, timeout_s=timeout_s) is PauseReason.USER
    return state == "running" or stands


def running_elsewhere(env: Env, name: VmName, source: NodeName) -> NodeName | None:
    """Name the node where a VM runs that its source does not have any more; None where that is not sure."""
    try:
        if env.hypervisor_at(source).domain_state(name, timeout_s=LOOK_S) != "absent":
            return None
    except VmMgrError:
        return None
    others = [one.name for one in env.cluster.state().nodes if one.online and not one.observer]
    return next((node for node in others if node != source and _runs_at(env, name, node)), None)


def _runs_at(env: Env, name: VmName, node: NodeName) -> bool:
    try:
        return has_arrived(env.hypervisor_at(node), name, LOOK_S)
    except VmMgrError:
        return False

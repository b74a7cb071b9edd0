"""Call a move off: have the VM go on where it is, and say what can't be taken back."""

from vm_mgr.errors import VmMgrError
from vm_mgr.model.cluster import ClusterState, NodeName
from vm_mgr.model.vm import VmName, VmState
from vm_mgr.operations.lifecycle.waiting import wait
from vm_mgr.operations.migration.halves import Others, end_halves
from vm_mgr.operations.migration.unblock import is_shutting_down
from vm_mgr.operations.support.vm_state import derive_status
from vm_mgr.ports.cluster import VmResource
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note, Progress

__all__ = ["abort", "cancel_move", "confirm_on_source", "remaining_effects", "undo_move"]

POLL_S = 0.25
LOOK_S = 10.0
SETTLE_S = 30.0
# What Pacemaker, its agent and ssh to the target take until there is a job that can be aborted, and what the
# agent then takes to see that nothing is left.
CALL_OFF_S = 15.0
CALM_LOOKS = 4


def undo_move(env: Env, vm: VmResource, source: NodeName, to: NodeName | None) -> str:
    """Undo a move as far as that can be done, and say what goes on; nothing where the VM is as before.

    What goes on keeps its constraint, until its date: without it a live migration ends in a stop and a start,
    and a VM that stops is started anywhere, its memory maybe not saved.
    """
    try:
        ended = cancel_move(env, vm.name, source) if vm.live_migration else _end_unbegun(env, vm.name, source)
        where = "where the cluster places it" if ended else f"on {to or 'another node'}"
        return remaining_effects(env, vm.name, source, where)
    except VmMgrError as error:
        return f"what becomes of {vm.name} is not known: {error.message}"


def cancel_move(env: Env, name: VmName, source: NodeName) -> bool:
    """Abort what is under way, or begins just now, before its constraint ends; False if it may go on.

    A migration without its constraint ends in a stop and a start: Pacemaker prefers the source again ("can no
    longer migrate"). The agent may still be on its way to a job that can be aborted.
    """
    deadline, reset_throttle = env.clock.monotonic() + CALL_OFF_S, 0
    abort(env, name, source)
    while reset_throttle < CALM_LOOKS and env.clock.monotonic() < deadline:
        env.clock.sleep(POLL_S)
        if _is_on_its_way(env, name):
            reset_throttle = 0
            abort(env, name, source)
        else:
            reset_throttle += 1
            env.cluster.end_move(name)
    return reset_throttle == CALM_LOOKS


def abort(env: Env, name: VmName, source: NodeName) -> None:
    """Abort what is under way; the source's timer then lets the cluster act on the VM again."""
    try:
        env.hypervisor_at(source).abort_job(name)
    except VmMgrError as error:
        text = f"the migration of {name} may go on: {error.message}"
        env.say(Note(Level.WARNING, "not-cancelled", text, f"see: vm-mgr status {name}"))


def confirm_on_source(env: Env, name: VmName, source: NodeName) -> str:
    """Let the cluster act again on a VM that a failed move holds, if it runs at its source; else say why not.

    Where that is not proven, the source's timer goes on looking.
    """
    try:
        standing = env.hypervisor_at(source).paused(name, timeout_s=LOOK_S)
    except VmMgrError as error:
        return f"{source} is being shut down" if is_shutting_down(env, source) else error.message
    if is_shutting_down(env, source):
        return f"{source} is being shut down"
    if not standing.is_wanted:
        return standing
    others = _others(env, name, source)
    if others.runs or others.unsure:
        return "; ".join([*(f"it also runs on {node}" for node in others.runs), *others.unsure])
    env.cluster.cleanup_failed(name, source, "migrate_to")
    # Still the same step: the end of another one would be told as done.
    wait(env, name, f"moving {name}", lambda vm: vm.state is VmState.STARTED and not vm.detail, SETTLE_S)
    return ""


def _others(env: Env, name: VmName, source: NodeName) -> Others:
    """End the halves on other nodes; wait for the fencing of a lost one, which could have anything."""
    deadline = env.clock.monotonic() + SETTLE_S
    others = end_halves(env, name, source)
    while others.unsure and not others.runs and env.clock.monotonic() < deadline:
        env.say(Progress(f"checking where it runs: {name}", detail="; ".join(others.unsure)))
        env.clock.sleep(POLL_S)
        others = end_halves(env, name, source)
    return others


def remaining_effects(env: Env, name: VmName, source: NodeName, where: str) -> str:
    """Say what of a move goes on; nothing for a VM that runs at its source, which is recovered if it is held.

    where: in words, where a VM that is being stopped will run.
    """
    state = env.cluster.state()
    if name not in state.resources:
        return ""
    resource = state.resources[name]
    seen = derive_status(resource, state)
    if seen.moving:
        return f"{name} is still on its way, and may arrive"
    if seen.state is not VmState.STARTED:
        return f"{name} is {seen.state.value}: that can't be taken back; it will run {where}"
    env.cluster.end_move(name)
    if seen.node != source:
        return f"{name} is on {seen.node} already"
    doubt = confirm_on_source(env, name, source) if resource.blocked_on else ""
    return f"whether {name} runs on {source} is not sure ({doubt}); {source} goes on looking" if doubt else ""


def _end_unbegun(env: Env, name: VmName, source: NodeName) -> bool:
    """End the constraint of a VM that is not being stopped yet; False if it is."""
    for look in range(CALM_LOOKS):
        if not _rests(env.cluster.state(), name, source):
            return look > 0
        env.cluster.end_move(name)
        env.clock.sleep(POLL_S)
    return True


def _rests(state: ClusterState, name: VmName, source: NodeName) -> bool:
    if name not in state.resources:
        return True
    seen = derive_status(state.resources[name], state)
    return seen.state is VmState.STARTED and not seen.detail and seen.node == source


def _is_on_its_way(env: Env, name: VmName) -> bool:
    """Look; who can't be seen may be."""
    try:
        state = env.cluster.state()
    except VmMgrError:
        return True
    resource = state.resources.get(name)
    return resource is not None and derive_status(resource, state).moving

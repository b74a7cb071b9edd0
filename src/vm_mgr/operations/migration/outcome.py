"""Say how a VM is moved: before, how long that may take, and after, what its guest has noticed."""

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, TypeVar

from vm_mgr.errors import AbortedError, Kind, VmMgrError
from vm_mgr.model.cluster import Failure, NodeName, Resource
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.migration import AbortReason
from vm_mgr.model.on_move import MoveMethod
from vm_mgr.model.vm import VmName, VmState, VmStatus
from vm_mgr.operations.lifecycle.waiting import wait
from vm_mgr.operations.migration.blocked import release_blocked
from vm_mgr.operations.migration.cancel import confirm_on_source
from vm_mgr.ports.cluster import VmResource
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = [
    "EVENT_LOG_S",
    "POLL_S",
    "Failed",
    "announcement",
    "expected_method",
    "found_by_cluster",
    "longest_s",
    "method_after_loss",
    "method_taken",
    "not_arrived",
    "not_moved",
    "run_to_end",
    "was_restarted",
    "why_failed",
]

POLL_S = 0.25
OTHER_STEPS_S = 120  # migrate_from and recovering, or stop and start of a VM that is restarted
# How far the event log may be behind what has happened.
EVENT_LOG_S = 5.0
# How long the cluster may take to find a VM at another node than it believed.
FIND_S = 30.0
_WAYS = {
    EventKind.RESUMED: MoveMethod.RESUMED,
    EventKind.NOT_SAVED: MoveMethod.RESTARTED,
    EventKind.NOT_RESUMED: MoveMethod.RESTARTED,
}
_ARRIVALS = {EventKind.MOVED: MoveMethod.LIVE, EventKind.RUNNING: MoveMethod.RESTARTED}
_Result = TypeVar("_Result")


def run_to_end(env: Env, step: Callable[[], _Result | None]) -> _Result:
    """Take steps until one has a result, and sleep in between."""
    while (result := step()) is None:
        env.clock.sleep(POLL_S)
    return result


def longest_s(vm: VmResource) -> int:
    """Give the seconds after which a move is given up.

    A guest that can't be saved is shut down and booted after that was tried: a VM that hibernates has the
    time of both.
    """
    if vm.live_migration or not vm.hibernation_s:
        return OTHER_STEPS_S + vm.migrate_to_timeout_s
    return OTHER_STEPS_S + 2 * vm.hibernation_s + vm.stop_timeout_s + vm.start_timeout_s


class Failed(NamedTuple):
    """Why a move has failed: in words, and whether and why it was ended before its end."""

    text: str
    why: AbortReason = AbortReason.NONE


def announcement(vm: VmResource, source: NodeName) -> Note:
    """Say what the guest of a VM without live migration has to expect."""
    if not vm.hibernation_s:
        message = f"{vm.name} has no live migration: it is stopped on {source} and started elsewhere"
        return Note(Level.WARNING, "not-live", message)
    text = (
        f"the memory of {vm.name} is saved on {source} and resumed elsewhere; its guest is paused meanwhile"
    )
    return Note(Level.INFO, "hibernating", text)


def expected_method(vm: VmResource) -> MoveMethod:
    """Give the way of a move in which nothing fails; whether a memory was resumed, only events tell."""
    if vm.live_migration:
        return MoveMethod.LIVE
    return MoveMethod.UNKNOWN if vm.hibernation_s else MoveMethod.RESTARTED


def was_restarted(env: Env, before: Resource, after: Resource | None, seen: VmStatus) -> bool:
    """Say so when the VM has arrived but not alive: Pacemaker restarts it where a live migration failed."""
    new = [failure.text for failure in after.failures if failure not in before.failures] if after else []
    if new:
        reason = "; ".join(new)
        message = f"{seen.name} was restarted on {seen.node}, because its live migration failed: {reason}"
        env.say(Note(Level.WARNING, "not-live", message))
    return bool(new)


def method_taken(env: Env, vm: VmResource, since_utc: float, deadline: float) -> MoveMethod | None:
    """Tell how a VM has arrived.

    Whether its guest went on is in the event log, maybe a moment later: until the deadline None is "not yet".
    """
    expected = expected_method(vm)
    if expected is not MoveMethod.UNKNOWN:
        return expected
    event = _outcome(env, vm.name, since_utc)
    if event is None and env.clock.monotonic() < deadline:
        return None
    if event is None:
        text = f"whether {vm.name} went on with its memory is shown by: vm-mgr events {vm.name}"
        env.say(Note(Level.INFO, "see-events", text))
        return MoveMethod.UNKNOWN
    if event.kind is not EventKind.RESUMED:
        text = f"{vm.name} was booted anew, {event.kind.value}: {event.detail}"
        env.say(Note(Level.WARNING, "not-resumed", text, f"see: vm-mgr events {vm.name}"))
    return _WAYS[event.kind]


def method_after_loss(
    env: Env, seen: VmStatus, source: NodeName, since_utc: float, deadline: float
) -> MoveMethod | None:
    """Tell how a VM has arrived whose source was lost meanwhile: alive before that, or started anew.

    Only the event log knows, maybe a moment later: until the deadline None is "not yet".
    """
    arrivals = [
        one for one in _told(env, seen.name, since_utc) if one.kind in _ARRIVALS and one.node == seen.node
    ]
    if arrivals:
        how = _ARRIVALS[arrivals[-1].kind]
        if how is MoveMethod.RESTARTED:
            text = f"{seen.name} was booted anew on {seen.node}: {source} was lost in the middle of the move"
            env.say(Note(Level.WARNING, "not-live", text, f"see: vm-mgr events {seen.name}"))
        return how
    if env.clock.monotonic() < deadline:
        return None
    text = f"{source} was lost; whether {seen.name} was booted anew is shown by: vm-mgr events {seen.name}"
    env.say(Note(Level.WARNING, "see-events", text))
    return MoveMethod.UNKNOWN


def why_failed(env: Env, name: VmName, failure: Failure, since_utc: float, deadline: float) -> Failed | None:
    """Give the whole reason of a failed move, which only the event log has, maybe a moment later.

    Until the deadline None is "not yet".

    Pacemaker keeps 128 bytes of an agent's reasons, and nothing of those of migrations from 2.1.6 on.
    """
    event = _agents_event(env, name, failure, since_utc)
    if event is None and env.clock.monotonic() < deadline:
        return None
    if event is None:
        return Failed(failure.text)
    reason = event.detail.partition(": ")[2]
    return Failed(f"{failure.task} on {failure.node}: {reason}", AbortReason.of(event.why))


def not_moved(env: Env, seen: VmStatus, failed: Failed, source: NodeName, hint: str) -> VmMgrError:
    """Let the cluster act on the VM again if it runs at its source, and say why it was not moved."""
    name, doubt = seen.name, confirm_on_source(env, seen.name, source)
    if doubt:
        unsure = f"whether it runs on {source} is not sure ({doubt})"
        message = f"{name}: its move failed, and {unsure}: {failed.text}"
        hint = f"{source} goes on looking and mends it; see: vm-mgr status {name}"
        return AbortedError(message, failed.why, hint=hint)
    message = f"{name} was not moved and runs on {source} as before: {failed.text}"
    kind = Kind.TRY_LATER if failed.why is AbortReason.RECOVERY else Kind.EXTERNAL_FAILURE
    return AbortedError(message, failed.why, kind=kind, hint=hint)


def found_by_cluster(
    env: Env, after: Resource, to: NodeName | None, there: NodeName, reason: str
) -> VmStatus:
    """Have the cluster find a VM that runs at another node than it believes; raise if it is not where asked.

    Its move has succeeded, and what Pacemaker calls failed was to move it once more.
    """
    name, wanted = VmName(after.name), to or there
    with suppress(VmMgrError):  # what is not found in time is told below, with where it runs
        release_blocked(env, after)
    seen = wait(
        env, name, f"waiting for the cluster to find {name}", lambda vm: _is_there(vm, wanted), FIND_S
    )
    if _is_there(seen, wanted):
        return seen
    on = f" on {seen.node}" if seen.node else ""
    message = f"{name} runs on {there}, for the cluster it is {seen.state.value}{on}: {reason}"
    raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=f"check again: vm-mgr status {name}; crm_mon -1")


def not_arrived(seen: VmStatus, failures: list[Failure]) -> VmMgrError:
    """Say where a VM is that has not arrived, and what the cluster remembers of that."""
    where = f" on {seen.node}" if seen.node else ""
    reason = seen.detail or "; ".join(failure.text for failure in failures)
    reason = f": {reason}" if reason else ""
    hint = (
        f"look at the agent's messages, on each node: journalctl -t vm-mgr-agent; vm-mgr events {seen.name}"
    )
    return VmMgrError(
        Kind.EXTERNAL_FAILURE,
        f"{seen.name} was not moved; it is {seen.state.value}{where}{reason}",
        hint=hint,
    )


def _agents_event(env: Env, name: VmName, failure: Failure, since_utc: float) -> Event | None:
    """Look for the event of the agent; Pacemaker's own has no reason, but how long the operation took."""
    found = None
    for event in _told(env, name, since_utc):
        task, _, reason = event.detail.partition(": ")
        if event.kind is EventKind.FAILED and not event.waited and task == failure.task and reason:
            found = event if event.node == failure.node else found
    return found


def _outcome(env: Env, name: VmName, since_utc: float) -> Event | None:
    return next((one for one in _told(env, name, since_utc) if one.kind in _WAYS), None)


def _told(env: Env, name: VmName, since_utc: float) -> list[Event]:
    try:
        events = env.event_log.read(since_utc - 1)  # clocks of nodes differ
    except VmMgrError:
        return []
    return [one for one in events if one.subject == name]


def _is_there(seen: VmStatus, node: NodeName) -> bool:
    return seen.state is VmState.STARTED and not seen.detail and seen.node == node

"""Say how a VM is moved: before, how long that may take, and after, what its guest has noticed."""

from collections.abc import Generator
from typing import NamedTuple, TypeVar

from vm_mgr.errors import VmMgrError
from vm_mgr.model.cluster import Failure, NodeName, Resource
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.migration import AbortReason
from vm_mgr.model.on_move import MoveMethod
from vm_mgr.model.vm import VmName, VmStatus
from vm_mgr.ports.cluster import VmResource
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = [
    "POLL_S",
    "Failed",
    "announcement",
    "expected_method",
    "longest_s",
    "method_taken",
    "run_to_end",
    "was_restarted",
    "why_failed",
]

POLL_S = 0.25
OTHER_STEPS_S = 120  # migrate_from and recovering, or stop and start of a VM that is restarted
# How far the event log may be behind what has happened.
CHRONICLE_S = 5.0
_WAYS = {
    EventKind.RESUMED: MoveMethod.RESUMED,
    EventKind.NOT_SAVED: MoveMethod.RESTARTED,
    EventKind.NOT_RESUMED: MoveMethod.RESTARTED,
}
_Result = TypeVar("_Result")


def run_to_end(env: Env, steps: Generator[None, None, _Result]) -> _Result:
    """Take all steps, sleeping in between; what happens then is also for them to undo."""
    try:
        while True:
            next(steps)
            env.clock.sleep(POLL_S)
    except StopIteration as end:
        result: _Result = end.value
        return result
    except BaseException as error:
        steps.throw(error)
        raise


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


def method_taken(env: Env, vm: VmResource, since_utc: float) -> Generator[None, None, MoveMethod]:
    """Tell how a VM has arrived; whether its guest went on is in the event log, maybe a moment later."""
    expected = expected_method(vm)
    if expected is not MoveMethod.UNKNOWN:
        return expected
    deadline = env.clock.monotonic() + CHRONICLE_S
    while (event := _outcome(env, vm.name, since_utc)) is None and env.clock.monotonic() < deadline:
        yield
    if event is None:
        text = f"whether {vm.name} went on with its memory is shown by: vm-mgr events {vm.name}"
        env.say(Note(Level.INFO, "see-events", text))
        return MoveMethod.UNKNOWN
    if event.kind is not EventKind.RESUMED:
        text = f"{vm.name} was booted anew, {event.kind.value}: {event.detail}"
        env.say(Note(Level.WARNING, "not-resumed", text, f"see: vm-mgr events {vm.name}"))
    return _WAYS[event.kind]


def why_failed(env: Env, name: VmName, failure: Failure, since_utc: float) -> Generator[None, None, Failed]:
    """Give the whole reason of a failed move, which only the event log has, maybe a moment later.

    Pacemaker keeps 128 bytes of an agent's reasons, and nothing of those of migrations from 2.1.6 on.
    """
    deadline = env.clock.monotonic() + CHRONICLE_S
    event = _agents_event(env, name, failure, since_utc)
    while event is None and env.clock.monotonic() < deadline:
        yield
        event = _agents_event(env, name, failure, since_utc)
    if event is None:
        return Failed(failure.text)
    reason = event.detail.partition(": ")[2]
    return Failed(f"{failure.task} on {failure.node}: {reason}", AbortReason.of(event.why))


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

"""Move one VM step by step: load, validate, change, watch, and say how it has ended."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple, NoReturn

from vm_mgr.errors import SignalError, raise_all
from vm_mgr.model.cluster import ClusterState, Failure, NodeName, Resource
from vm_mgr.model.on_move import MoveMethod
from vm_mgr.model.vm import VmName, VmState, VmStatus
from vm_mgr.operations.lifecycle.waiting import SETTLED_LOOKS
from vm_mgr.operations.migration.blocked import release_blocked, running_elsewhere
from vm_mgr.operations.migration.cancel import cancel_move, undo_move
from vm_mgr.operations.migration.facts import Facts, configured_vm, load, load_guest
from vm_mgr.operations.migration.handover import handed_over
from vm_mgr.operations.migration.job import Job
from vm_mgr.operations.migration.options import AS_SET, MigrateOptions, Target, advice
from vm_mgr.operations.migration.outcome import (
    EVENT_LOG_S,
    POLL_S,
    expected_method,
    found_by_cluster,
    longest_s,
    method_after_loss,
    method_taken,
    not_arrived,
    not_moved,
    was_restarted,
    why_failed,
)
from vm_mgr.operations.migration.prechecks import request_problems
from vm_mgr.operations.migration.validate import Order, order
from vm_mgr.operations.storage.overlay import elsewhere_problems
from vm_mgr.operations.support.locking import asked, locked
from vm_mgr.operations.support.preconditions import (
    NEEDS,
    action_problems,
    fencing_under_way,
    quorum_problems,
    resource_of,
)
from vm_mgr.operations.support.vm_state import derive_status
from vm_mgr.ports.cluster import Move
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note, Progress

__all__ = ["Migration", "Moved"]

GRACE_S = 60
# While memory is sent the cluster has nothing new to say, and asking it takes processor time from the sender.
SENDING_LOOK_S = 2.0
SETTLE_S = 30.0


class Moved(NamedTuple):
    """Where a VM is, and what its guest has noticed."""

    status: VmStatus
    how: MoveMethod


class Migration:
    """A VM on its way. It never sleeps: one loop can take the steps of several.

    Its lock, and what undoes it, are in one stack. That ends with the last step, an error, or abandon.
    """

    # What is known from the first change on.
    facts: Facts
    order: Order
    job: Job
    deadline: float
    next_look_s: float
    failed_looks: int

    def __init__(self, env: Env, name: VmName, goal: Target, options: MigrateOptions = AS_SET) -> None:
        self.env = env
        self.name = name
        self.goal = goal
        self.options = options
        self.cancelled = False
        self.ended = False
        self.source_lost = False
        self._held = ExitStack()
        self._next: Callable[[], Moved | None] = self._start

    def step(self) -> Moved | None:
        """Do what can be done now; None means: take another step in a moment.

        A live migration that fails leaves the VM where it runs; then its failure is cleared too, and
        EXTERNAL_FAILURE says why (docs/design/0010-clean-abort.md).
        """
        return self._do(self._next)

    def run(self) -> Moved:
        """Take all steps, and sleep in between; a signal may also come between two of them."""
        try:
            while (moved := self.step()) is None:
                self.env.clock.sleep(POLL_S)
        except BaseException as error:
            self.abandon(error)
            raise
        return moved

    def abandon(self, error: BaseException) -> NoReturn:
        """Undo what was begun, because of an error from outside; raises it, or what undoing has met."""
        with self._held:
            raise error

    def _do(self, step: Callable[[], Moved | None]) -> Moved | None:
        with self._held as held:
            moved = step()
            if moved is None:
                self._held = held.pop_all()
            return moved

    def _start(self) -> Moved | None:
        self._held.enter_context(locked(self.env, self.name))
        self._next = partial(self._settle, self.env.clock.monotonic() + SETTLE_S)
        return self._next()

    def _settle(self, deadline: float) -> Moved | None:
        """Look; at a VM on its way, for which nobody waits any more, check again for a while."""
        env, state = self.env, self.env.cluster.state()
        if not state.quorate:
            raise_all(quorum_problems(state))
        before = resource_of(env, state, self.name)
        seen = derive_status(before, state)
        lost = fencing_under_way(env, state)
        if not (seen.moving or lost) or env.clock.monotonic() > deadline:
            return self._begin(state, before, seen)
        waited = f"until {lost} is fenced" if lost else f"for the end of an earlier move of {self.name}"
        env.say(Progress(f"waiting {waited}"))
        return None

    def _begin(self, state: ClusterState, before: Resource, seen: VmStatus) -> Moved | None:
        """Load, validate, change."""
        env, goal = self.env, self.goal
        if goal.source not in (None, seen.node):
            return Moved(seen, expected_method(configured_vm(env, self.name)))
        facts = self.facts = load(env, state, before, seen)
        problems = request_problems(facts, goal, self.options)
        raise_all(problems or action_problems(env, state, NEEDS["migrate"], self.name))
        guest = load_guest(env, self.name, facts.source)
        raise_all(elsewhere_problems(self.name, guest.elsewhere, facts.source))
        if facts.source == goal.to:
            return Moved(seen, MoveMethod.LIVE)
        self.order = order(env, facts, guest, goal, self.options)
        if before.blocked_on:  # by an earlier try that nobody waited for
            release_blocked(env, before)
        return self._change()

    def _change(self) -> Moved | None:
        vm, source, goal = self.facts.vm, self.facts.source, self.goal
        self.job = Job(self.env, self.name, source, asks=self.order.asks and vm.live_migration)
        timeout_s = longest_s(vm)
        asked(self.env, self.name, "migrate")
        if self.facts.both_promoted:
            target = goal.to or self.order.chosen or NodeName("")
            self._held.enter_context(handed_over(self.env, self.name, target))
        self._held.push(self._take_back)
        move = Move(
            self.name,
            source,
            goal.to,
            goal.avoid,
            self.order.chosen,
            options=self.order.words,
            lifetime_s=timeout_s + GRACE_S,
            both_promoted=self.facts.both_promoted,
        )
        self.env.cluster.begin_move(move)
        return self._look_until(timeout_s)

    def _take_back(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Undo it, and say what could not be undone; what has ended is undone for a signal only."""
        if error is None or (self.ended and not isinstance(error, SignalError)):
            return
        left = undo_move(self.env, self.facts.vm, self.facts.source, self.goal.to)
        if not left:
            return
        self.env.say(Note(Level.WARNING, "goes-on", left, f"see: vm-mgr status {self.name}"))
        if isinstance(error, SignalError):
            error.leave()

    def _look_until(self, timeout_s: float) -> Moved | None:
        """Begin to watch."""
        now_s = self.env.clock.monotonic()
        self.deadline, self.next_look_s, self.failed_looks = now_s + timeout_s, now_s, 0
        self._next = self._watch
        return self._watch()

    def _watch(self) -> Moved | None:
        """Look until it has arrived, is held at its source, has failed for good, or the time is up.

        Failed for good is also one that could not start at its target, and runs elsewhere again.
        """
        env, before = self.env, self.facts.before
        if self.job.is_sending() and env.clock.monotonic() < min(self.next_look_s, self.deadline):
            env.say(self.job.last)
            return None
        self.next_look_s = env.clock.monotonic() + SENDING_LOOK_S
        state = env.cluster.state()
        after = state.resources.get(self.name)
        seen = VmStatus(self.name, VmState.UNDEFINED) if after is None else derive_status(after, state)
        recovered = seen.state is VmState.STARTED and not seen.detail and _new_failures(before, after)
        self.failed_looks = self.failed_looks + 1 if recovered or seen.state is VmState.FAILED else 0
        held = after is None or _failed_moves(before, after)
        over = held or self._has_arrived(seen) or self.failed_looks >= SETTLED_LOOKS
        if not over and env.clock.monotonic() <= self.deadline:
            env.say(self.job.last)
            return None
        if seen.moving and self.facts.vm.live_migration and not self.cancelled:
            self.cancelled = True
            cancel_move(env, self.name, self.facts.source)
            return self._look_until(SETTLE_S)
        env.cluster.end_move(self.name)
        self.ended = True
        self.source_lost = self.facts.source not in {node.name for node in state.nodes if node.online}
        return self._outcome(seen, after)

    def _outcome(self, seen: VmStatus, after: Resource | None) -> Moved | None:
        """Find out how it has arrived, or for what reason it has not; the event log may lag behind."""
        before, deadline = self.facts.before, self.env.clock.monotonic() + EVENT_LOG_S
        if after is not None and (failures := _failed_moves(before, after)):
            self._next = partial(self._explain, seen, after, failures[-1], deadline)
            return self._next()
        if not self._has_arrived(seen):
            raise not_arrived(seen, _new_failures(before, after))
        if self.facts.vm.live_migration and was_restarted(self.env, before, after, seen):
            return Moved(seen, MoveMethod.RESTARTED)
        self._next = partial(self._arrived, seen, deadline)
        return self._next()

    def _arrived(self, seen: VmStatus, deadline: float) -> Moved | None:
        vm, asked_utc = self.facts.vm, self.job.asked_utc
        if vm.live_migration and self.source_lost:
            how = method_after_loss(self.env, seen, self.facts.source, asked_utc, deadline)
        else:
            how = method_taken(self.env, vm, asked_utc, deadline)
        return Moved(seen, how) if how is not None else None

    def _explain(self, seen: VmStatus, after: Resource, failure: Failure, deadline: float) -> Moved | None:
        """Raise with what would help; but a VM that runs at its target has moved all the same."""
        env, source = self.env, self.facts.source
        failed = why_failed(env, self.name, failure, self.job.asked_utc, deadline)
        if failed is None:
            return None
        there = running_elsewhere(env, self.name, source)
        if there is None:
            hint = advice(failed.why, self.options, self.facts.vm, self.order.terms, self.job.sample)
            raise not_moved(env, seen, failed, source, hint)
        return Moved(found_by_cluster(env, after, self.goal.to, there, failed.text), MoveMethod.LIVE)

    def _has_arrived(self, seen: VmStatus) -> bool:
        to, source = self.goal.to, self.facts.source
        there = seen.node == to if to else seen.node not in ("", source)
        return seen.state is VmState.STARTED and not seen.detail and there


def _failed_moves(before: Resource, after: Resource) -> list[Failure]:
    """Give the failures that hold the VM and that are none of an earlier move."""
    return [one for one in _new_failures(before, after) if after.blocked_on and one.task == "migrate_to"]


def _new_failures(before: Resource, after: Resource | None) -> list[Failure]:
    return [failure for failure in after.failures if failure not in before.failures] if after else []

"""Move a running VM to another node."""

from collections.abc import Callable, Generator
from contextlib import suppress
from typing import NamedTuple

from vm_mgr.errors import AbortedError, Kind, SignalError, VmMgrError, raise_all
from vm_mgr.model.cluster import ClusterState, Failure, NodeName, Resource
from vm_mgr.model.migration import AbortReason, JobSample, Plan, Strategy, render_terms
from vm_mgr.model.on_move import MoveMethod
from vm_mgr.model.vm import TargetRole, VmName, VmState, VmStatus
from vm_mgr.operations.lifecycle.waiting import SETTLED_LOOKS, known_settings, wait
from vm_mgr.operations.migration.blocked import release_blocked, running_elsewhere
from vm_mgr.operations.migration.cancel import cancel_move, confirm_on_source, undo_move
from vm_mgr.operations.migration.options import (
    MigrateOptions,
    Target,
    advice,
    agent_terms,
    bandwidth_of,
    limits_of,
    strategy_of,
    term_problems,
    too_slow,
)
from vm_mgr.operations.migration.outcome import (
    Failed,
    announcement,
    expected_method,
    longest_s,
    method_taken,
    run_to_end,
    was_restarted,
    why_failed,
)
from vm_mgr.operations.migration.plan import plan_for
from vm_mgr.operations.migration.prechecks import arrival_problems, goal_problems, side_effect_problems
from vm_mgr.operations.storage.overlay import overlay_problems
from vm_mgr.operations.support.locking import locked
from vm_mgr.operations.support.preconditions import host_problems, quorum_problems, resource_of
from vm_mgr.operations.support.vm_state import derive_status
from vm_mgr.ports.cluster import Move, VmResource
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note, Progress

__all__ = ["AS_SET", "Moved", "Moving", "migrate", "moving"]

GRACE_S = 60
# While memory is sent the cluster has nothing new to say, and asking it takes processor time from the sender.
SENDING_LOOK_S = 2.0
SETTLE_S = 30.0
MIB = 1 << 20
AS_SET = MigrateOptions()


class Moved(NamedTuple):
    """Where a VM is, and what its guest has noticed."""

    status: VmStatus
    how: MoveMethod


# Stands still wherever there is nothing to do for a moment, so that one loop can watch several moves.
Moving = Generator[None, None, Moved]


def migrate(env: Env, name: VmName, to: NodeName | None = None, terms: MigrateOptions = AS_SET) -> VmStatus:
    """Constrain the VM for the time of the move, wait until it runs there, leave no constraint behind.

    A live migration that fails leaves the VM where it runs; then its failure is cleared too, and
    EXTERNAL_FAILURE says why (docs/design/0010-clean-abort.md).
    """
    if to is not None:  # who has mistyped a name is not to wait for an earlier move, or another command
        state = env.cluster.state()
        raise_all(quorum_problems(state) + host_problems(state, to))
    return run_to_end(env, moving(env, name, Target(to), terms)).status


def moving(env: Env, name: VmName, goal: Target, terms: MigrateOptions = AS_SET) -> Moving:
    """Do the same step by step; who does not take all steps throws into it what has ended them."""
    with locked(env, name):
        return (yield from _moving(env, name, goal, terms))


def _moving(env: Env, name: VmName, goal: Target, terms: MigrateOptions) -> Moving:
    state, before = yield from _settled(env, name)
    seen = derive_status(before, state)
    source = NodeName(seen.node)
    vm = env.cluster.configured(name).vm or VmResource(name, TargetRole.STARTED)
    if goal.source not in (None, source):
        return Moved(seen, expected_method(vm))
    problems = _still_moving(seen) or goal_problems(state, seen, goal, known_settings(env, name))
    raise_all(problems + term_problems(name, terms, vm, before.agent))
    raise_all(overlay_problems(env, state, name))
    if source == goal.to:
        return Moved(seen, MoveMethod.LIVE)
    words, strategy = "", strategy_of(terms, vm.params)
    picks = strategy is Strategy.AUTO
    asks = (vm.live_migration or vm.hibernation_s > 0) and _can_ask(env, state)
    if asks and picks and vm.live_migration:
        env.hypervisor_at(source).begin_dirty_rate(name)
    raise_all(arrival_problems(env, state, vm, source, goal.to, goal.avoiding, alive=asks))
    if vm.live_migration:
        _say_if_too_slow(env, source, terms, vm, asks=asks)
        plan = _plan(env, name, source, terms, vm) if asks and picks else None
        words, strategy = render_terms(agent_terms(terms, plan)), plan.strategy if plan else strategy
    else:
        env.say(announcement(vm, source))
    raise_all(side_effect_problems(env, state, vm, source, goal) if goal.to is None else [])
    release_blocked(env, before)  # of an earlier try that nobody waited for
    job = _Job(env, before, source, asks=asks and vm.live_migration)
    seen, after = yield from _move(env, job, goal, vm, words)

    def advise(why: AbortReason) -> str:
        return advice(why, terms, vm, job.sample, strategy)

    try:
        return (yield from _outcome(job, goal, vm, seen, after, advise))
    except SignalError as error:
        _take_back(env, vm, source, goal, error)
        raise


def _outcome(
    job: "_Job",
    goal: Target,
    vm: VmResource,
    seen: VmStatus,
    after: Resource | None,
    advise: Callable[[AbortReason], str],
) -> Moving:
    """Say how it has arrived, or raise for what reason it has not, with what would help then."""
    env, name, before, source = job.env, job.name, job.before, job.source
    if after is not None and _failed_moves(before, after):
        failed = yield from why_failed(env, name, _failed_moves(before, after)[-1], job.asked_utc)
        there = running_elsewhere(env, name, source)
        if there is None:
            raise _not_moved(env, seen, failed, source, advise(failed.why))
        return Moved(_found(env, after, goal.to, there, failed.text), MoveMethod.LIVE)
    if not _arrived(seen, source, goal.to):
        raise _failure(seen, _new_failures(before, after))
    if vm.live_migration and was_restarted(env, before, after, seen):
        return Moved(seen, MoveMethod.RESTARTED)
    return Moved(seen, (yield from method_taken(env, vm, job.asked_utc)))


def _settled(env: Env, name: VmName) -> Generator[None, None, tuple[ClusterState, Resource]]:
    """Look; at a VM on its way, for which nobody waits any more, check again for a while."""
    deadline = env.clock.monotonic() + SETTLE_S
    while True:
        state = env.cluster.state()
        raise_all(quorum_problems(state))
        resource = resource_of(env, state, name)
        if not derive_status(resource, state).moving or env.clock.monotonic() > deadline:
            return state, resource
        env.say(Progress(f"waiting for the end of an earlier move of {name}"))
        yield


def _still_moving(seen: VmStatus) -> list[VmMgrError]:
    """Refuse a VM on its way: another constraint now would have it stopped and started."""
    if not seen.moving:
        return []
    hint = f"wait until it has arrived: vm-mgr status {seen.name}; or cancel it: vm-mgr unmigrate {seen.name}"
    return [VmMgrError(Kind.TRY_LATER, f"{seen.name} is still on its way from an earlier move", hint=hint)]


def _move(env: Env, job: "_Job", goal: Target, vm: VmResource, words: str) -> "_Watch":
    name, source, timeout_s = job.name, job.source, longest_s(vm)
    try:
        env.cluster.begin_move(Move(name, source, goal.to, goal.avoiding, words, timeout_s + GRACE_S))
        seen, after = yield from _watch(env, job, goal.to, timeout_s)
        if seen.moving and vm.live_migration:
            cancel_move(env, name, source)
            seen, after = yield from _watch(env, job, goal.to, SETTLE_S)
        env.cluster.end_move(name)
    except BaseException as error:
        _take_back(env, vm, source, goal, error)
        raise
    return seen, after


def _take_back(env: Env, vm: VmResource, source: NodeName, goal: Target, error: BaseException) -> None:
    """Undo it, and say what could not be undone."""
    left = undo_move(env, vm, source, goal.to)
    if not left:
        return
    env.say(Note(Level.WARNING, "goes-on", left, f"see: vm-mgr status {vm.name}"))
    if isinstance(error, SignalError):
        error.leave()


def _can_ask(env: Env, state: ClusterState) -> bool:
    """Tell whether this node may ask others' libvirt; an observer has no key for that, and warns instead."""
    here = state.node(env.cluster.local_node())
    if here is None or not here.observer:
        return True
    text = "an observer can't look whether the target is fit; the source does when the move begins"
    env.say(Note(Level.WARNING, "not-checked", text, "for checks and progress call it on a hypervisor"))
    return False


def _plan(env: Env, name: VmName, source: NodeName, terms: MigrateOptions, vm: VmResource) -> Plan | None:
    """Pick here, where somebody hears why; None leaves it to the agent."""
    try:
        plan = plan_for(
            env.hypervisor_at(source),
            env.definitions,
            name,
            strategy=Strategy.AUTO,
            bandwidth_mib=bandwidth_of(terms, vm),
            limits=limits_of(terms, vm),
        )
    except VmMgrError as error:
        env.say(
            Note(Level.WARNING, "no-plan", f"{source} picks the strategy itself: {error.message}", error.hint)
        )
        return None
    env.say(Note(Level.INFO, "migration-plan", f"{plan.strategy.value}: {plan.reason}"))
    return plan


def _say_if_too_slow(
    env: Env, source: NodeName, terms: MigrateOptions, vm: VmResource, *, asks: bool
) -> None:
    if not asks or bandwidth_of(terms, vm) is None:
        return
    with suppress(VmMgrError):  # whoever asks next says why there is no answer
        xml = env.hypervisor_at(source).running_definition(vm.name)
        note = too_slow(terms, vm, env.definitions.machine(xml).memory_bytes)
        if note is not None:
            env.say(note)


_Watch = Generator[None, None, tuple[VmStatus, Resource | None]]


def _watch(env: Env, job: "_Job", to: NodeName | None, timeout_s: float) -> _Watch:
    """Look until it has arrived, is held at its source, has failed for good, or the time is up.

    Failed for good is also one that could not start at its target, and runs elsewhere again.
    """
    name, before, source = job.name, job.before, job.source
    deadline, failed_looks = env.clock.monotonic() + timeout_s, 0
    next_look_s = env.clock.monotonic()
    while True:
        if job.is_sending() and env.clock.monotonic() < min(next_look_s, deadline):
            env.say(job.last)
            yield
            continue
        next_look_s = env.clock.monotonic() + SENDING_LOOK_S
        state = env.cluster.state()
        resource = state.resources.get(name)
        seen = VmStatus(name, VmState.UNDEFINED) if resource is None else derive_status(resource, state)
        recovered = seen.state is VmState.STARTED and not seen.detail and _new_failures(before, resource)
        failed_looks = failed_looks + 1 if recovered or seen.state is VmState.FAILED else 0
        held = resource is None or _failed_moves(before, resource)
        if held or _arrived(seen, source, to) or failed_looks >= SETTLED_LOOKS:
            return seen, resource
        if env.clock.monotonic() > deadline:
            return seen, resource
        env.say(job.last)
        yield


def _failed_moves(before: Resource, after: Resource) -> list[Failure]:
    """Give the failures that hold the VM and that are none of an earlier move."""
    return [one for one in _new_failures(before, after) if after.blocked_on and one.task == "migrate_to"]


def _new_failures(before: Resource, after: Resource | None) -> list[Failure]:
    return [failure for failure in after.failures if failure not in before.failures] if after else []


class _Job:
    """The migration as libvirt has it at the source, asked now and then."""

    def __init__(self, env: Env, before: Resource, source: NodeName, *, asks: bool) -> None:
        self.env = env
        self.name = VmName(before.name)
        self.before = before
        self.source = source
        self.asked_utc = env.clock.utc()
        self.last = Progress(f"moving {self.name}")
        self.sample: JobSample | None = None
        self.asks = asks

    def is_sending(self) -> bool:
        """Look how far it is; where libvirt does not answer, it is only said that the VM moves."""
        if not self.asks:
            return False
        try:
            sample = self.env.hypervisor_at(self.source).migration_progress(self.name)
        except VmMgrError as error:
            self.asks = False
            text = f"how far the move is can't be seen: {error.message}"
            self.env.say(Note(Level.WARNING, "no-progress", text, error.hint))
            return False
        if sample is not None:
            self.last, self.sample = _progress(self.name, sample), sample
        return sample is not None and sample.remaining_bytes > 0


def _progress(name: VmName, sample: JobSample) -> Progress:
    whole = sample.processed_bytes + sample.remaining_bytes
    if not whole:  # nothing is known of it yet
        return Progress(f"moving {name}")
    fraction = sample.processed_bytes / whole
    left = f"{sample.left_s:.0f} s left" if sample.left_s is not None else "no end in sight"
    rates = f"{sample.rate_bps / MIB:.0f} MiB/s, dirties {sample.dirty_bps / MIB:.0f} MiB/s"
    extra = f", slowed down by {sample.throttle_percent}%" if sample.throttle_percent else ""
    extra += ", paused to finish" if sample.paused else ""
    detail = f"{sample.processed_bytes // MIB} of {whole // MIB} MiB, {rates}, {left}{extra}"
    return Progress(f"moving {name}", fraction, whole, detail)


def _not_moved(env: Env, seen: VmStatus, failed: Failed, source: NodeName, hint: str) -> VmMgrError:
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


def _found(env: Env, after: Resource, to: NodeName | None, there: NodeName, reason: str) -> VmStatus:
    """Have the cluster find a VM that runs at another node than it believes; raise if it is not where asked.

    Its move has succeeded, and what Pacemaker calls failed was to move it once more.
    """
    name, wanted = VmName(after.name), to or there
    with suppress(VmMgrError):  # what is not found in time is told below, with where it runs
        release_blocked(env, after)
    seen = wait(
        env, name, f"waiting for the cluster to find {name}", lambda vm: _is_there(vm, wanted), SETTLE_S
    )
    if _is_there(seen, wanted):
        return seen
    on = f" on {seen.node}" if seen.node else ""
    message = f"{name} runs on {there}, for the cluster it is {seen.state.value}{on}: {reason}"
    raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=f"check again: vm-mgr status {name}; crm_mon -1")


def _is_there(seen: VmStatus, node: NodeName) -> bool:
    return seen.state is VmState.STARTED and not seen.detail and seen.node == node


def _arrived(seen: VmStatus, source: NodeName, to: NodeName | None) -> bool:
    there = seen.node == to if to else seen.node not in ("", source)
    return seen.state is VmState.STARTED and not seen.detail and there


def _failure(seen: VmStatus, failures: list[Failure]) -> VmMgrError:
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

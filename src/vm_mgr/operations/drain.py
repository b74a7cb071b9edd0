"""Move all running VMs away from a node, some at a time (docs/design/0013-drain.md)."""

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from vm_mgr.errors import AbortedError, Kind, SignalError, VmMgrError, raise_all
from vm_mgr.model.cluster import ClusterState, NodeName, Resource, standby_end
from vm_mgr.model.intent import Key, KeyKind
from vm_mgr.model.migration import AbortReason
from vm_mgr.model.on_move import MoveMethod
from vm_mgr.model.vm import VmName, VmState
from vm_mgr.operations.lifecycle.waiting import wait
from vm_mgr.operations.migration.facts import load_guest, load_targets, simulate
from vm_mgr.operations.migration.options import AS_SET, MigrateOptions, Target
from vm_mgr.operations.migration.outcome import EVENT_LOG_S, POLL_S, longest_s, method_taken, run_to_end
from vm_mgr.operations.migration.prechecks import arrival, side_effects
from vm_mgr.operations.migration.run import Migration, Moved
from vm_mgr.operations.migration.validate import immovable_problems
from vm_mgr.operations.support.locking import lock
from vm_mgr.operations.support.preconditions import host_problems, quorum_problems
from vm_mgr.ports.cluster import Move, VmResource
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note, Progress, Report

if TYPE_CHECKING:
    from vm_mgr.reports import Say

__all__ = ["AT_ONCE", "DrainOptions", "Drained", "Left", "Stays", "drain", "require_empty"]

AT_ONCE = 2
# How long a drain waits for the end of a fencing; one that takes longer has failed, or needs a person.
FENCING_S = 60.0


class DrainOptions(NamedTuple):
    """How a node is to be drained; the terms are for the VMs that move live.

    restart_others: stop and start elsewhere the VMs that have no live migration and don't hibernate.
    standby: once it is empty, have the node take nothing until it is booted the next time.
    allow: what is else refused: IMMOVABLE.
    """

    at_once: int = AT_ONCE
    restart_others: bool = False
    standby: bool = False
    terms: MigrateOptions = AS_SET
    allow: tuple[str, ...] = ()


AS_USUAL = DrainOptions()


class Left(NamedTuple):
    """A VM that has left."""

    name: VmName
    to: NodeName
    how: MoveMethod
    took_s: float


class Stays(NamedTuple):
    """A VM that was left where it is, and what can be done about it."""

    name: VmName
    reason: str
    hint: str


class Drained(NamedTuple):
    """What became of each VM, in the order in which that was known."""

    node: NodeName
    moved: tuple[Left, ...] = ()
    stays: tuple[Stays, ...] = ()
    standby: bool = False


def drain(env: Env, node: NodeName, wishes: DrainOptions = AS_USUAL) -> Drained:
    """Move each VM as `migrate` does, those of the highest priority first, and tell of those that stay.

    The cluster chooses where to, but never another node that is being drained. Raises WRONG_STATE for a node
    whose VMs the cluster moves by itself, or can't move now.
    """
    state = env.cluster.state()
    raise_all(quorum_problems(state) + (host_problems(state, node) or _node_problems(state, node)))
    if state.maintenance:
        hint = "end it: crm_attribute --name maintenance-mode --delete"
        message = "not managed: the cluster is in maintenance mode, and moves nothing"
        raise VmMgrError(Kind.WRONG_STATE, message, hint=hint)
    with lock(env, Key(KeyKind.DRAIN, node)):
        job = _Drain(env, node, wishes)
        job.run()
        standby = wishes.standby and job.stand_by()
        return Drained(node, tuple(job.moved), tuple(job.stays), standby)


def require_empty(drained: Drained) -> None:
    """Raise WRONG_STATE where VMs stay."""
    if not drained.stays:
        return
    names = ", ".join(one.name for one in drained.stays)
    message = f"VMs stay on {drained.node}: {names}"
    hint = next(
        (one.hint for one in drained.stays if one.hint), f"see: vm-mgr status {drained.stays[0].name}"
    )
    raise VmMgrError(Kind.WRONG_STATE, message, hint=hint)


def _node_problems(state: ClusterState, node: NodeName) -> list[VmMgrError]:
    seen = state.node(node)
    if seen is None or seen.can_host:
        return []
    if seen.standby or seen.shutting_down:
        why = "is in standby" if seen.standby else "shuts down"
        message = f"{node} {why}: the cluster moves its VMs already"
        return [VmMgrError(Kind.WRONG_STATE, message, hint="see what is left there: vm-mgr list")]
    message = f"{node} is lost, joining or in maintenance: the cluster moves nothing away from it now"
    return [VmMgrError(Kind.WRONG_STATE, message, hint="see why: crm_mon -1")]


class _Heard:
    """The environment of one move, whose reports are told apart from those of the others."""

    def __init__(self, env: Env, say: "Say") -> None:
        self._env = env
        self.say = say

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)


class _Journey:
    """A move that is under way."""

    def __init__(self, env: Env, vm: VmResource, goal: Target, terms: MigrateOptions) -> None:
        self.env = env
        self.vm = vm
        self.name = vm.name
        self.began_s = env.clock.monotonic()
        self.progress = Progress(f"moving {vm.name}")
        heard = cast("Env", _Heard(env, self._hear))
        self.migration = Migration(heard, vm.name, goal, terms)

    def told(self) -> str:
        """Say how far it is."""
        step, fraction, _, detail = self.progress
        return " ".join(filter(None, (step, "" if fraction is None else f"{fraction:.0%}", detail)))

    def _hear(self, report: Report) -> None:
        if isinstance(report, Progress):
            self.progress = report
        else:
            named = self.name in report.message.split()
            self.env.say(report if named else report._replace(message=f"{self.name}: {report.message}"))


class _Drain:
    """One node's VMs: those that wait, those under way, and what became of the others."""

    def __init__(self, env: Env, node: NodeName, wishes: DrainOptions) -> None:
        self.env = env
        self.node = node
        self.wishes = wishes
        self.moved: list[Left] = []
        self.stays: list[Stays] = []
        self.waiting: list[VmResource] = []
        self.returning: list[VmResource] = []
        self.under_way: list[_Journey] = []
        self.seen: set[VmName] = set()
        self.again: dict[VmName, float] = {}

    def run(self) -> None:
        """Take a step of each move in turn, until nothing is left that could move.

        One loop instead of a thread for each: no part of the environment has to be safe for two.
        """
        try:
            self._look()
            while self.waiting or self.under_way:
                self._begin()
                for journey in tuple(self.under_way):
                    self._step(journey)
                if self.under_way or self.waiting:
                    self.env.say(self._progress())
                    self.env.clock.sleep(POLL_S)
                else:
                    self._look()  # what has been started or recovered there meanwhile
        except BaseException as error:
            self._undo(error)
            raise

    def stand_by(self) -> bool:
        """Put the node in standby, unless that would stop what is left on it."""
        self._keep_stranded()
        if self.stays:
            text = f"{self.node} is not put in standby: that would stop what is still on it, or move it"
            self.env.say(Note(Level.WARNING, "no-standby", text, "move or stop them, and drain it again"))
            return False
        self.env.nodes.standby(self.node)
        began_s, began_utc = self.env.clock.monotonic(), self.env.clock.utc()
        try:
            for vm in self.returning:
                self._await(vm, began_s, began_utc)
        except SignalError:
            text = f"{self.node} stays in standby"
            self.env.say(Note(Level.WARNING, "standby", text, standby_end(self.node)))
            raise
        return True

    def _keep_stranded(self) -> None:
        """Look where those can go that standby is to move, which no move of their own has looked at."""
        env, state = self.env, self.env.cluster.state()
        goal = self._goal()
        for vm in tuple(self.returning):
            targets = load_targets(env, state, vm.name, self.node, goal)
            places = arrival(state, vm, self.node, targets)
            found = simulate(env, Move(vm.name, self.node, avoid=goal.avoid))
            others = side_effects(state, vm, self.node, goal, found)
            for note in (*places.notes, *others.notes):
                env.say(note)
            guest = load_guest(env, vm.name, self.node)
            problems = [*immovable_problems(vm, guest, goal), *places.problems, *others.problems]
            if problems:
                self.returning.remove(vm)
                self._keep(vm.name, "; ".join(one.message for one in problems), problems[0].hint)

    def _look(self) -> None:
        """Queue the VMs that have not been looked at yet."""
        for resource in self.env.cluster.state().resources.values():
            name, here = VmName(resource.name), resource.active and resource.nodes[:1] == (self.node,)
            if resource.is_vm and here and name not in self.seen:
                self.seen.add(name)
                self._sort(resource, self.env.cluster.configured(name).vm)
        self.waiting.sort(key=lambda vm: (-vm.priority, vm.name))

    def _sort(self, resource: Resource, vm: VmResource | None) -> None:
        if vm is None:
            return  # taken out of the cluster since
        if not (resource.managed or resource.blocked):
            hint = f"crm_resource --meta -r {vm.name} -p is-managed -v true"
            self._keep(vm.name, f"the cluster does not manage {vm.name}: it moves nothing of it", hint)
        elif resource.within:
            hint = f"move all of it: crm_resource --move --resource {resource.within.partition(' ')[2]}"
            self._keep(vm.name, f"{vm.name} moves only with the {resource.within}", hint)
        elif vm.pinned_host:
            hint = f"vm-mgr set {vm.name} --unset pinned-host"
            self._keep(vm.name, f"{vm.name} is pinned to {vm.pinned_host}", hint)
        elif not (vm.live_migration or vm.hibernation_s or self.wishes.restart_others):
            hint = "stop it here and start it elsewhere: --restart-others"
            self._keep(vm.name, f"{vm.name} has no live migration", hint)
        elif self.wishes.standby and vm.returns and vm.preferred_host == self.node:
            self.returning.append(vm)
        else:
            self.waiting.append(vm)

    def _begin(self) -> None:
        while self.waiting and len(self.under_way) < self.wishes.at_once:
            if self._gives_way(self.waiting[0].name):
                return
            vm = self.waiting.pop(0)
            terms = self.wishes.terms if vm.live_migration else AS_SET
            self.under_way.append(_Journey(self.env, vm, self._goal(), terms))

    def _goal(self) -> Target:
        restart, allow = self.wishes.restart_others, self.wishes.allow
        return Target(source=self.node, avoid=self._drained_too(), allow_restart=restart, allow=allow)

    def _gives_way(self, name: VmName) -> bool:
        """Tell whether a VM whose move has made way for a fencing is to wait for the end of that."""
        late = self.env.clock.monotonic() > self.again.get(name, 0)
        return not late and any(node.unclean for node in self.env.cluster.state().nodes)

    def _drained_too(self) -> frozenset[NodeName]:
        """Name the other nodes that somebody drains at this moment."""
        nodes = [one.name for one in self.env.cluster.state().nodes if one.can_host and one.name != self.node]
        return frozenset(node for node in nodes if self._is_claimed(Key(KeyKind.DRAIN, node)))

    def _is_claimed(self, name: VmName | Key) -> bool:
        try:
            with self.env.intent_log.lock(name):
                return False
        except VmMgrError as error:
            if error.kind is not Kind.TRY_LATER:
                raise
            return True

    def _step(self, journey: _Journey) -> None:
        try:
            moved = journey.migration.step()
        except VmMgrError as error:
            self.under_way.remove(journey)
            if _is_preempted(error) and journey.name not in self.again:
                self.again[journey.name] = self.env.clock.monotonic() + FENCING_S
                self.waiting.append(journey.vm)
                text = f"{journey.name} is moved again after that: {error.message}"
                self.env.say(Note(Level.INFO, "again", text))
                return
            hint = next((one.hint for one in (error, *error.others) if one.hint), "")
            self._keep(journey.name, "; ".join(one.message for one in (error, *error.others)), hint)
            return
        if moved is not None:
            self.under_way.remove(journey)
            self._arrived(journey, moved)

    def _arrived(self, journey: _Journey, moved: Moved) -> None:
        if not moved.status.node:
            self.seen.discard(journey.name)  # somebody has stopped it
            return
        took_s = self.env.clock.monotonic() - journey.began_s
        self._tell(Left(journey.name, NodeName(moved.status.node), moved.how, round(took_s, 1)))

    def _tell(self, left: Left) -> None:
        self.moved.append(left)
        how = "by its saved memory, or booted" if left.how is MoveMethod.UNKNOWN else left.how.value
        text = f"{left.name} is on {left.to}, {how}, after {left.took_s:g} s ({self._count()})"
        self.env.say(Note(Level.INFO, "moved", text))

    def _keep(self, name: VmName, reason: str, hint: str) -> None:
        self.stays.append(Stays(name, reason, hint))
        self.env.say(Note(Level.WARNING, "stays", f"{name} stays on {self.node}: {reason}", hint))

    def _await(self, vm: VmResource, began_s: float, began_utc: float) -> None:
        """Wait for a VM that would return from any other move; the standby moves it."""
        seen = wait(
            self.env,
            vm.name,
            f"moving {vm.name}, by standby",
            lambda now: now.state is VmState.STARTED and not now.detail and now.node not in ("", self.node),
            longest_s(vm),
        )
        if seen.state is VmState.STARTED and seen.node not in ("", self.node):
            took_s = self.env.clock.monotonic() - began_s
            deadline = self.env.clock.monotonic() + EVENT_LOG_S
            how = run_to_end(self.env, partial(method_taken, self.env, vm, began_utc, deadline))
            self._tell(Left(vm.name, NodeName(seen.node), how, round(took_s, 1)))
        else:
            reason = f"it is {seen.state.value}" + (f": {seen.detail}" if seen.detail else "")
            self._keep(vm.name, reason, f"check again: vm-mgr status {vm.name}")

    def _progress(self) -> Progress:
        moves = "; ".join(journey.told() for journey in self.under_way)
        fraction = (len(self.moved) + len(self.stays)) / max(len(self.seen), 1)
        return Progress(f"draining {self.node}", fraction, None, f"({self._count()}) {moves}")

    def _count(self) -> str:
        return f"{len(self.moved)} of {len(self.seen)}"

    def _undo(self, error: BaseException) -> None:
        """Let each move end what it has begun; the VMs go on where they are."""
        for journey in self.under_way:
            try:
                journey.migration.abandon(error)
            except BaseException as failed:
                if failed is error:
                    continue
                if not isinstance(failed, (VmMgrError, SignalError)):
                    raise
                text = f"the move of {journey.name} may go on: {failed.message}"
                self.env.say(Note(Level.WARNING, "not-cancelled", text, f"vm-mgr unmigrate {journey.name}"))


def _is_preempted(error: VmMgrError) -> bool:
    return isinstance(error, AbortedError) and error.why == AbortReason.RECOVERY

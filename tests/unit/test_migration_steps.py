"""A move as an object with steps: what it loads, how checks judge, how it ends wherever it is left."""

import ast
import sys
from collections import Counter
from pathlib import Path

import pytest

from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.memory.env import MemoryEnv
from vm_mgr.adapters.memory.hypervisor import MemoryHypervisor
from vm_mgr.errors import Kind, SignalError, VmMgrError
from vm_mgr.model.cluster import ClusterState, Node, Resource
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.on_move import MoveMethod
from vm_mgr.model.resource import ClusterParts, Dependency
from vm_mgr.model.vm import TargetRole, VmSettings, VmState, VmStatus
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.migration import prechecks, run
from vm_mgr.operations.migration.facts import Facts, Guest, Targets, load_guest, load_targets
from vm_mgr.operations.migration.options import AS_SET, MigrateOptions, Target
from vm_mgr.operations.migration.prechecks import arrival, request_problems, side_effects
from vm_mgr.operations.migration.run import Migration
from vm_mgr.ports.cluster import SideEffect, Simulation, VmResource
from vm_mgr.ports.storage import PARTS
from vm_mgr.reports import Level, Note

from .conftest import DOMAIN

STATE = ClusterState(
    (Node("n1"), Node("n2"), Node("n3")), {"web1": Resource("web1", nodes=("n1",), active=True)}
)
VM = VmResource("web1", TargetRole.STARTED, live_migration=True)
FAILED = VmMgrError(Kind.EXTERNAL_FAILURE, "no route to host")
REFUSED = VmMgrError(Kind.WRONG_STATE, "no such machine type")


@pytest.fixture
def vm(env, image):
    create(env, CreateRequest("web1", DOMAIN, (image,), VmSettings(live_migration=True)))
    env.said.clear()
    return "web1"


class Counted:
    """A port that counts how often each verb is called."""

    def __init__(self, port, calls, label):
        self._port, self._calls, self._label = port, calls, label

    def __getattr__(self, verb):
        found = getattr(self._port, verb)
        if self._label == "storage" and verb in PARTS:
            return Counted(found, self._calls, f"storage.{verb}")
        if not callable(found):
            return found

        def call(*arguments, **named):
            self._calls[f"{self._label}.{verb}"] += 1
            return found(*arguments, **named)

        return call


@pytest.fixture
def calls(env, vm):
    calls, nodes = Counter(), {node: MemoryHypervisor() for node in ("n1", "n2", "n3")}
    nodes["n1"] = env.hypervisor
    for port in ("cluster", "storage", "storages"):
        setattr(env, port, Counted(getattr(env, port), calls, port))
    env.hypervisor_at = lambda node: Counted(nodes[node], calls, node)
    return calls


class TestLoad:
    def test_each_fact_is_fetched_once(self, env, vm, calls):
        assert Migration(env, vm, Target("n2")).run().status.node == "n2"
        once = (
            "cluster.configured",
            "storage.definitions.settings",
            "storage.definitions.read",
            "storages.label_of",
        )
        assert {fact: calls[fact] for fact in once} == dict.fromkeys(once, 1)
        assert (calls["n1.running_definition"], calls["n2.migration_problems"]) == (1, 1)
        assert not [call for call in calls if call.startswith("n3.")]

    def test_without_a_node_each_target_and_the_scheduler_are_asked_once(self, env, vm, calls):
        Migration(env, vm, Target()).run()
        assert (calls["n2.migration_problems"], calls["n3.migration_problems"]) == (1, 1)
        assert (
            calls["cluster.simulate_move"] == calls["storages.label_of"] == calls["cluster.configured"] == 1
        )

    def test_what_a_look_at_the_cluster_forbids_asks_no_libvirt(self, env, vm, calls):
        env.cluster.nodes["n2"] = env.cluster.nodes["n2"]._replace(standby=True)
        with pytest.raises(VmMgrError, match="standby"):
            Migration(env, vm, Target("n2")).run()
        assert not [call for call in calls if call.startswith("n")]

    def test_source_that_is_silent_is_a_fact(self, env, vm):
        env.hypervisor.hanging = True
        guest = load_guest(env, vm, "n1")
        assert guest.error is not None
        targets = load_targets(env, env.cluster.state(), vm, "n1", Target("n2"), guest)
        assert targets == Targets(silent={"n1": guest.error})

    def test_storage_that_is_silent_hides_only_where_the_guest_writes(self, env, vm):
        def silent(_name):
            raise FAILED

        env.storage.definitions.read = silent
        guest = load_guest(env, vm, "n1")
        assert (guest.error, guest.elsewhere) == (None, ())
        assert "<domain" in guest.xml

    def test_node_that_is_silent_is_told_from_one_that_refuses(self, env, vm):
        nodes = {node: MemoryHypervisor() for node in ("n2", "n3")}
        nodes["n2"].hanging, nodes["n3"].refusals = True, [REFUSED]
        env.hypervisor_at = nodes.__getitem__
        found = load_targets(env, env.cluster.state(), vm, "n1", Target(), Guest(DOMAIN))
        assert (list(found.silent), found.refusals) == (["n2"], {"n2": (), "n3": [REFUSED]})


def facts(state=VmState.STARTED, vm=VM, settings=VmSettings(), **seen):  # noqa: B008 - immutable
    status = VmStatus("web1", state, "n1", **seen)
    return Facts(STATE, STATE.resources["web1"], status, "n1", vm, settings)


class TestChecks:
    """Facts in, problems out: no environment is needed."""

    def test_checks_know_no_environment(self):
        tree = ast.parse(Path(prechecks.__file__).read_text())
        imported = {one.module for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)}
        assert "vm_mgr.ports.env" not in imported
        assert "env" not in {one.arg for one in ast.walk(tree) if isinstance(one, ast.arg)}

    @pytest.mark.parametrize(
        ("given", "goal", "kinds"),
        [
            (facts(), Target("n2"), []),
            (facts(moving=True), Target("n2"), [Kind.TRY_LATER]),
            (facts(VmState.STOPPED), Target("n2"), [Kind.WRONG_STATE]),
            (facts(), Target("n9"), [Kind.NOT_FOUND]),
            (facts(VmState.STOPPED), Target("n9"), [Kind.NOT_FOUND, Kind.WRONG_STATE]),
            (facts(settings=VmSettings(pinned_host="n1")), Target("n2"), [Kind.WRONG_STATE]),
            (facts(), Target(avoid=frozenset({"n2", "n3"})), [Kind.NO_RESOURCES]),
        ],
    )
    def test_all_problems_are_named_at_once(self, given, goal, kinds):
        assert [problem.kind for problem in request_problems(given, goal, AS_SET)] == kinds

    def test_options_are_judged_with_them(self):
        given = facts(VmState.STOPPED, vm=VM._replace(live_migration=False))
        found = request_problems(given, Target("n2"), MigrateOptions(bandwidth_mib=8))
        assert [problem.kind for problem in found] == [Kind.WRONG_STATE, Kind.INVALID]

    def test_one_node_that_takes_it_is_enough_and_the_others_are_told(self):
        found = arrival(STATE, VM, "n1", Targets({"n2": [REFUSED], "n3": ()}, {"n2": FAILED}))
        assert found.problems == ()
        assert [(note.level, note.code) for note in found.notes] == [(Level.WARNING, "node-unfit")] * 2

    def test_without_one_all_their_problems_are_given(self):
        found = arrival(STATE, VM, "n1", Targets({"n2": [REFUSED], "n3": ()}, {"n3": FAILED}))
        assert ([problem.kind for problem in found.problems], found.notes) == ([Kind.WRONG_STATE] * 2, ())
        assert "n3" in found.problems[1].message

    def test_storage_that_is_not_active_refuses_the_node(self):
        state = STATE._replace(sets={"mount": frozenset({"n1"})})
        found = arrival(
            state,
            VM,
            "n1",
            Targets({"n2": ()}, storage_parts=ClusterParts(depends_on=(Dependency("mount"),))),
        )
        assert [problem.kind for problem in found.problems] == [Kind.WRONG_STATE]
        assert "mount" in found.problems[0].message

    @pytest.mark.parametrize(
        ("harm", "allow_restart", "kinds", "codes"),
        [
            (SideEffect.STOPPED, True, [Kind.NO_RESOURCES], []),
            (SideEffect.RESTARTED, False, [Kind.WRONG_STATE], []),
            (SideEffect.RESTARTED, True, [], ["restarts"]),
        ],
    )
    def test_side_effects_are_refused_or_told(self, harm, allow_restart, kinds, codes):
        state = STATE._replace(
            resources={**STATE.resources, "db1": Resource("db1"), "ip": Resource("ip", "IPaddr2")}
        )
        goal = Target(allow_restart=allow_restart)
        found = side_effects(state, VM, "n1", goal, Simulation({"db1": harm, "ip": SideEffect.STOPPED}))
        assert [problem.kind for problem in found.problems] == kinds
        assert [note.code for note in found.notes] == codes

    def test_notes_are_said_before_problems_are_raised(self):
        said, note = [], Note(Level.WARNING, "restarts", "x")
        with pytest.raises(VmMgrError, match="no such machine type"):
            prechecks.Verdict([REFUSED, FAILED], [note]).require(said.append)
        assert said == [note]
        assert REFUSED.others == (FAILED,)


def run_interrupted(env, name, lines):
    """Move a VM and raise a signal once so many lines of the steps were begun; True where there are fewer."""
    left = [lines]

    def on_line(_frame, event, _argument):
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                raise SignalError(2)
        return on_line

    def on_call(frame, _event, _argument):
        return on_line if frame.f_code.co_filename == run.__file__ and left[0] > 0 else None

    sys.settrace(on_call)
    try:
        Migration(env, name, Target("n2")).run()
    except SignalError:
        return False
    except VmMgrError:
        return left[0] > 0
    finally:
        sys.settrace(None)
    return left[0] > 0


def is_locked(env, name):
    try:
        with env.intent_log.lock(name):
            return False
    except VmMgrError:
        return True


@pytest.fixture
def cancelled(env):
    cancelled = []
    env.hypervisor.abort_job = cancelled.append
    return cancelled


class TestSteps:
    def test_step_waits_for_nothing_and_the_last_one_has_the_result(self, env, vm):
        env.cluster.stuck.add(vm)
        migration, began = Migration(env, vm, Target("n2")), env.clock.now
        assert migration.step() is None
        assert migration.step() is None
        assert env.clock.now == began
        assert is_locked(env, vm)
        env.cluster.stuck.clear()
        moved = migration.step()
        assert (moved.status.node, moved.how) == ("n2", MoveMethod.LIVE)
        assert not is_locked(env, vm)
        assert not env.cluster.moves

    def test_nothing_is_locked_before_the_first_step(self, env, vm, cancelled):
        migration = Migration(env, vm, Target("n2"))
        assert not is_locked(env, vm)
        with pytest.raises(SignalError):
            migration.abandon(SignalError(2))
        assert cancelled == []

    def test_abandoned_move_is_undone_once_and_unlocked(self, env, vm, cancelled):
        env.cluster.stuck.add(vm)
        migration = Migration(env, vm, Target("n2"))
        migration.step()
        assert env.cluster.moves
        error = SignalError(2)
        with pytest.raises(SignalError) as caught:
            migration.abandon(error)
        assert caught.value is error
        assert cancelled == [vm]
        assert (env.cluster.moves, is_locked(env, vm)) == ({}, False)
        with pytest.raises(SignalError):
            migration.abandon(error)
        assert cancelled == [vm]

    def test_move_that_waits_for_an_earlier_one_has_nothing_to_undo(self, env, vm, cancelled):
        state = env.cluster.state()
        resource = state.resources[vm]._replace(pending="Migrating")
        env.cluster.state = lambda: state._replace(resources={vm: resource})
        migration = Migration(env, vm, Target("n2"))
        assert migration.step() is None
        with pytest.raises(VmMgrError, match="no route"):
            migration.abandon(FAILED)
        assert (cancelled, is_locked(env, vm)) == ([], False)

    def test_refused_move_leaves_no_lock(self, env, vm, cancelled):
        env.hypervisor.refusals = [REFUSED]
        with pytest.raises(VmMgrError, match="no such machine type"):
            Migration(env, vm, Target("n2")).step()
        assert (cancelled, is_locked(env, vm), env.cluster.moves) == ([], False, {})

    def test_constraint_that_may_be_there_is_taken_back(self, env, vm, cancelled):
        begin = env.cluster.begin_move

        def begin_move(move):
            begin(move)
            env.cluster.stuck.add(vm)
            raise FAILED

        env.cluster.begin_move = begin_move
        with pytest.raises(VmMgrError, match="no route"):
            Migration(env, vm, Target("n2")).step()
        assert (cancelled, env.cluster.moves) == ([vm], {})

    def test_signal_while_the_reason_is_waited_for_is_heard(self, env, vm, cancelled):
        env.cluster.failing_migrations[vm] = "migrate_to on n1: Error occurred"
        migration = Migration(env, vm, Target("n2"))
        assert migration.step() is None  # the event log has no reason yet
        assert env.cluster.moves == {}
        with pytest.raises(SignalError):
            migration.abandon(SignalError(2))
        assert cancelled
        assert not is_locked(env, vm)

    @pytest.mark.parametrize("ends", ["well", "badly"])
    def test_signal_at_any_line_leaves_neither_lock_nor_constraint(self, vm, env, image, ends):
        """A signal is raised between two lines, wherever they are; the line of its lock's own start apart."""
        lines = 0
        while True:
            lines += 1
            env = MemoryEnv(DomainXml())
            create(env, CreateRequest(vm, DOMAIN, (image,), VmSettings(live_migration=True)))
            if ends == "badly":
                env.cluster.failing_migrations[vm] = "migrate_to on n1: Error occurred"
            if run_interrupted(env, vm, lines):
                break
            assert (env.cluster.moves, is_locked(env, vm)) == ({}, False), f"after {lines} lines"
        assert lines > 50

    def test_error_of_others_changes_nothing_about_a_move_that_has_ended(self, env, vm, cancelled):
        env.cluster.failing_migrations[vm] = "migrate_to on n1: Error occurred"
        migration = Migration(env, vm, Target("n2"))
        migration.step()
        with pytest.raises(VmMgrError, match="no route"):
            migration.abandon(FAILED)
        assert cancelled == []


class TestSourceIsLost:
    """What a move says whose source lost its power meanwhile: the cluster says no more than Started."""

    @pytest.fixture
    def lost(self, env, vm, monkeypatch):
        """Let the source be lost as soon as the cluster is asked for the move."""
        begin = env.cluster.begin_move

        def begin_and_lose(move):
            begin(move)
            env.cluster.nodes["n1"] = env.cluster.nodes["n1"]._replace(online=False)

        monkeypatch.setattr(env.cluster, "begin_move", begin_and_lose)

    def put(self, env, *kinds):
        utc = env.clock.utc() + 1
        env.event_log.append([Event(utc + place, kind, "web1", "n2") for place, kind in enumerate(kinds)])

    @pytest.mark.usefixtures("lost")
    @pytest.mark.parametrize(
        ("kinds", "how", "codes"),
        [
            ((EventKind.MOVED,), MoveMethod.LIVE, []),
            ((EventKind.RUNNING,), MoveMethod.RESTARTED, ["not-live"]),
            ((EventKind.MOVED, EventKind.RUNNING), MoveMethod.RESTARTED, ["not-live"]),
            ((), MoveMethod.UNKNOWN, ["see-events"]),
        ],
    )
    def test_guest_that_was_booted_anew_is_told(self, env, vm, kinds, how, codes):
        self.put(env, *kinds)
        assert Migration(env, vm, Target("n2")).run().how is how
        assert [
            note.code for note in env.said if isinstance(note, Note) and note.level is Level.WARNING
        ] == codes

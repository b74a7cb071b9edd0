"""A move that is looked at before, seen on its way, and cleanly aborted where it fails."""

import pytest

from vm_mgr.adapters.memory.hypervisor import MemoryHypervisor
from vm_mgr.errors import EXIT_CODES, Kind, SignalError, VmMgrError
from vm_mgr.model.cluster import Failure, Resource
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.migration import (
    Course,
    Decision,
    JobSample,
    Limits,
    OnTimeout,
    Plan,
    Step,
    Strategy,
    decide,
    parse_terms,
)
from vm_mgr.model.resource import ClusterParts, Dependency
from vm_mgr.model.vm import VmSettings, VmState
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.disable import disable
from vm_mgr.operations.enable import enable
from vm_mgr.operations.migrate import migrate
from vm_mgr.operations.migration.job import Forecast, Job
from vm_mgr.operations.migration.options import MigrateOptions
from vm_mgr.operations.migration.unblock import unblock
from vm_mgr.operations.set_vm import Changes, set_vm
from vm_mgr.operations.start import start
from vm_mgr.operations.status import status
from vm_mgr.operations.stop import stop
from vm_mgr.ports.cluster import Move
from vm_mgr.reports import Level, Note, Progress

from .conftest import DOMAIN, have_aborts_told

MIB = 1 << 20
FAILED = "migrate_to on n1: it did not end within 98 s"


@pytest.fixture
def vm(env, image):
    create(env, CreateRequest("web1", DOMAIN, (image,), VmSettings(live_migration=True)))
    return "web1"


@pytest.fixture
def held(env, vm):
    """Give a VM whose migration has failed, and for which nobody waits any more."""
    env.cluster.failing_migrations[vm] = FAILED
    env.cluster.begin_move(Move(vm, "n1", "n2", lifetime_s=60))
    assert status(env, vm).detail
    return vm


def failure(env, *arguments):
    with pytest.raises(VmMgrError) as caught:
        migrate(env, *arguments)
    return caught.value


def notes(env, level=Level.WARNING):
    return [one.code for one in env.said if isinstance(one, Note) and one.level is level]


class TestFailure:
    def test_vm_runs_on_at_its_source_and_nothing_is_left(self, env, vm):
        pid = env.hypervisor.find_vm(vm)
        env.cluster.failing_migrations[vm] = FAILED
        error = failure(env, vm, "n2")
        assert EXIT_CODES[error.kind] == 11
        assert "98 s" in error.message
        assert error.hint
        seen = status(env, vm)
        assert (seen.state, seen.node, seen.detail) == (VmState.STARTED, "n1", "")
        assert env.hypervisor.find_vm(vm) == pid
        assert not env.cluster.moves
        assert not env.cluster.state().resources[vm].failures

    def test_next_move_succeeds(self, env, vm):
        env.cluster.failing_migrations[vm] = FAILED
        failure(env, vm, "n2")
        env.cluster.failing_migrations.clear()
        assert migrate(env, vm, "n2").node == "n2"

    def test_failure_is_kept_where_it_is_not_proven_that_the_vm_runs(self, env, vm):
        env.cluster.failing_migrations[vm] = FAILED
        real = env.hypervisor.paused

        def unreachable(*_, **__):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "no route to host")

        env.hypervisor.paused = unreachable
        assert "no route" in failure(env, vm, "n2").message
        assert env.cluster.held
        assert not env.cluster.moves
        env.hypervisor.paused = real

    def test_failure_of_an_earlier_move_does_not_end_this_one(self, env, held):
        env.cluster.end_move(held)
        env.cluster.failing_migrations.clear()
        assert migrate(env, held, "n3").node == "n3"

    def test_move_that_an_earlier_command_has_left_under_way_is_waited_for(self, env, vm):
        real, looks = env.cluster.state, []
        env.said.clear()

        def moving_at_first():
            state = real()
            looks.append(state)
            if len(looks) > 3:
                return state
            resource = state.resources[vm]._replace(pending="Migrating")
            return state._replace(resources={**state.resources, vm: resource})

        env.cluster.state = moving_at_first
        env.hypervisor.running_definition = lambda _name: DOMAIN if len(looks) > 3 else None
        assert migrate(env, vm, "n2").node == "n2"
        steps = [one.step for one in env.said if isinstance(one, Progress)]
        assert "earlier move" in steps[0]

    def test_unknown_node_is_told_before_anything_is_waited_for(self, env, vm):
        moving = env.cluster.state()
        resource = moving.resources[vm]._replace(pending="Migrating")
        env.cluster.state = lambda: moving._replace(resources={vm: resource})
        env.said.clear()
        assert failure(env, vm, "n9").kind is Kind.NOT_FOUND
        assert not env.said

    def test_interrupted_move_is_cancelled(self, env, vm):
        cancelled = []
        env.hypervisor.abort_job = cancelled.append
        env.cluster.stuck.add(vm)

        sleep = env.clock.sleep

        def interrupt(_seconds):
            env.clock.sleep = sleep
            raise SignalError(2)

        env.clock.sleep = interrupt
        with pytest.raises(SignalError):
            migrate(env, vm, "n3")
        assert cancelled == [vm]
        assert not env.cluster.moves


class TestMovedAllTheSame:
    """The migrate_to that Pacemaker calls failed was one more, after the first one had succeeded."""

    @pytest.fixture
    def there(self, env, vm):
        env.cluster.failing_migrations[vm] = "migrate_to on n1: Error occurred"
        nodes = {node: MemoryHypervisor() for node in ("n1", "n2", "n3")}
        begin = env.cluster.begin_move

        def begin_move(move):
            begin(move)
            nodes["n2"].running[vm] = nodes["n1"].running.pop(vm)

        nodes["n1"].running[vm] = 1000
        env.hypervisor_at, env.cluster.begin_move = nodes.__getitem__, begin_move
        return nodes["n2"]

    @pytest.mark.parametrize("to", ["n2", None])
    def test_vm_that_runs_at_its_target_was_moved(self, env, vm, there, to):
        def reprobe(name):
            env.cluster.held.clear()
            env.cluster.places[name] = "n2"

        env.cluster.reprobe = reprobe
        seen = migrate(env, vm, to)
        assert (seen.state, seen.node, seen.detail) == (VmState.STARTED, "n2", "")
        assert not notes(env)

    def test_what_the_cluster_does_not_find_is_told_with_where_it_runs(self, env, vm, there):
        env.cluster.reprobe = lambda _name: None
        assert "runs on n2" in failure(env, vm, "n2").message

    def test_vm_that_is_seen_nowhere_is_not_said_to_run(self, env, vm, there):
        begin = env.cluster.begin_move
        env.cluster.begin_move = lambda move: begin(move) or setattr(there, "hanging", True)
        assert "is not sure" in failure(env, vm, "n2").message
        assert env.cluster.held


class TestReason:
    """From 2.1.6 on Pacemaker drops the reason of a failed migrate_to: only the agent's event has it."""

    REASON = "it did not end within 18 s (3 MiB/s, dirties 9 MiB/s), and a pause would take about 40 s; " * 2

    @pytest.fixture(autouse=True)
    def dropped(self, env, vm):
        env.cluster.failing_migrations[vm] = "migrate_to on n1: Error occurred"

    def tell(self, env, detail, node="n1", before_s=0.0, subject="web1", **more):
        told = Event(env.clock.utc() - before_s, EventKind.FAILED, subject, node, detail, **more)
        env.event_log.append([told])

    def test_agents_whole_reason_is_told(self, env, vm):
        self.tell(env, f"migrate_to: {self.REASON}")
        self.tell(env, "migrate_to: Error occurred", waited={"migrate_to": 18000})
        assert f"migrate_to on n1: {self.REASON}" in failure(env, vm, "n2").message

    def test_reason_may_come_a_moment_later(self, env, vm):
        sleep, slept = env.clock.sleep, []

        def later(seconds):
            slept.append(seconds)
            if env.cluster.held and not env.event_log.kept:
                self.tell(env, "migrate_to: no ssh")
            sleep(seconds)

        env.clock.sleep = later
        assert "migrate_to on n1: no ssh" in failure(env, vm, "n2").message

    def test_what_is_said_of_something_else_is_no_reason(self, env, vm):
        self.tell(env, "migrate_to: of long ago", before_s=60)
        self.tell(env, "migrate_to: of another node", node="n3")
        self.tell(env, "migrate_to: of another VM", subject="web2")
        self.tell(env, "start: of another task")
        self.tell(env, "migrate_to: Timed Out", waited={"migrate_to": 120000})
        began = env.clock.now
        assert failure(env, vm, "n2").message.endswith("migrate_to on n1: Error occurred")
        assert env.clock.now - began < 60

    def test_without_a_chronicle_pacemakers_words_are_told(self, env, vm):
        env.event_log.hanging = True
        assert failure(env, vm, "n2").message.endswith("migrate_to on n1: Error occurred")


class TestAdvice:
    """What would help depends on what has ended the move."""

    def hint(self, env, vm, monkeypatch, ended, terms=MigrateOptions(), **sample):  # noqa: B008 - immutable
        env.cluster.failing_migrations[vm] = f"migrate_to on n1: {ended.reason}"
        env.cluster.aborts[vm] = ended.why
        have_aborts_told(env)
        looks = iter([JobSample(remaining_bytes=190 * MIB, **sample)] if sample else [])
        monkeypatch.setattr(env.hypervisor, "migration_progress", lambda _name: next(looks, None))
        return failure(env, vm, "n2", terms).hint

    def late(self, limits, **sample):
        sample = JobSample(elapsed_s=200, remaining_bytes=190 * MIB, **sample)
        return decide(Plan(), limits, sample, Course())

    def test_what_is_too_narrow_is_widened(self, env, vm, monkeypatch):
        terms = MigrateOptions(bandwidth_mib=1, timeout_s=5, on_timeout=OnTimeout.ABORT)
        rates = {"rate_bps": 1.0 * MIB, "dirty_bps": 0.0}
        reason = self.late(Limits(5, 98, OnTimeout.ABORT), **rates)
        hint = self.hint(env, vm, monkeypatch, reason, terms, **rates)
        assert "--bandwidth" in hint
        assert "--timeout" in hint
        assert "--max-pause" not in hint
        assert "auto-converge" not in hint

    @pytest.mark.parametrize(
        ("terms", "way", "other"),
        [
            (MigrateOptions(strategy=Strategy.PRECOPY), "--max-pause 38", "--on-timeout"),
            (MigrateOptions(on_timeout=OnTimeout.ABORT), "--on-timeout pause", "--max-pause"),
        ],
    )
    def test_busy_guest_is_paused_or_slowed_down(self, env, vm, monkeypatch, terms, way, other):
        rates = {"rate_bps": 10.0 * MIB, "dirty_bps": 90.0 * MIB}
        reason = self.late(Limits(98, 110, terms.on_timeout or OnTimeout.PAUSE), **rates)
        hint = self.hint(env, vm, monkeypatch, reason, terms, **rates)
        assert way in hint
        assert other not in hint
        assert "--bandwidth" not in hint
        assert "auto-converge" in hint

    def test_what_slows_it_down_already_is_not_advised(self, env, vm, monkeypatch):
        terms = MigrateOptions(strategy=Strategy.AUTO_CONVERGE)
        rates = {"rate_bps": 10.0 * MIB, "dirty_bps": 90.0 * MIB}
        reason = self.late(Limits(98, 110), **rates)
        assert "auto-converge" not in self.hint(env, vm, monkeypatch, reason, terms, **rates)

    def test_pause_that_was_too_short_is_prolonged(self, env, vm, monkeypatch):
        sample = JobSample(elapsed_s=50, remaining_bytes=MIB)
        reason = decide(Plan(), Limits(98, 110), sample, Course(paused_at_s=30))
        rates = {"rate_bps": 90.0 * MIB, "dirty_bps": 0.0}
        assert "--max-pause 20" in self.hint(env, vm, monkeypatch, reason, **rates)

    def test_other_causes_are_to_be_mended(self, env, vm, monkeypatch):
        reason = Decision(
            Step.ABORT, "its live migration failed: Cannot open log file: Device or resource busy"
        )
        hint = self.hint(env, vm, monkeypatch, reason, rate_bps=1.0, dirty_bps=1.0)
        assert "--" not in hint
        assert f"vm-mgr events {vm}" in hint

    def test_bandwidth_that_can_not_carry_all_in_time_is_told_before(self, env, vm):
        machine = env.definitions.machine
        env.definitions.machine = lambda xml: machine(xml)._replace(memory_bytes=256 * MIB)
        migrate(env, vm, "n2", MigrateOptions(bandwidth_mib=1, timeout_s=5))
        assert "too-slow" in notes(env, Level.INFO)
        env.said.clear()
        migrate(env, vm, "n3", MigrateOptions(bandwidth_mib=100, timeout_s=5))
        assert "too-slow" not in notes(env, Level.INFO)

    def test_move_that_failed_is_not_told_as_done(self, env, vm):
        """The end of a step is told as done when another one begins."""
        env.cluster.failing_migrations[vm] = FAILED
        forget, sleep, asked = env.cluster.cleanup_failed, env.clock.sleep, []
        env.cluster.cleanup_failed = lambda *names: asked.append(names)

        def later(seconds):
            sleep(seconds)
            if asked:
                forget(*asked[0])

        env.clock.sleep = later
        failure(env, vm, "n2")
        steps = [one.step for one in env.said if isinstance(one, Progress)]
        assert steps[-1] == f"moving {vm}"


class TestHeld:
    def test_vm_is_shown_where_it_runs(self, env, held):
        seen = status(env, held)
        assert (seen.state, seen.node) == (VmState.STARTED, "n1")
        assert "98 s" in seen.detail

    def test_other_failures_are_no_running_vm(self, env, held):
        env.cluster.failures[held].append(Failure("monitor on n1: gone", "now", "monitor", "n1"))
        assert status(env, held).state is VmState.FAILED

    def test_start_has_the_cluster_look_where_it_runs(self, env, held):
        env.cluster.end_move(held)
        assert start(env, held).detail == ""
        assert not env.cluster.held

    @pytest.mark.parametrize("verb", [stop, disable])
    def test_vm_can_be_stopped(self, env, held, verb):
        env.cluster.end_move(held)
        assert verb(env, held).state in (VmState.STOPPED, VmState.DISABLED)

    def test_nobody_waits_so_the_cluster_is_let_act_again(self, env, held):
        assert unblock(env, held)
        seen = status(env, held)
        assert (seen.state, seen.node, seen.detail) == (VmState.STARTED, "n1", "")
        assert not env.cluster.moves
        assert unblock(env, held)

    def test_command_that_is_at_work_is_left_alone(self, env, held):
        with env.intent_log.lock(held):
            assert not unblock(env, held)
            assert env.cluster.moves
            env.cluster.moves.clear()  # another command, that moves nothing, may itself wait for this
            assert unblock(env, held)

    def test_storage_that_is_down_has_no_command(self, env, held):
        def unreachable(_name):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "Ceph can't be reached")

        env.intent_log.lock = unreachable
        assert unblock(env, held)
        assert not env.cluster.held

    @pytest.mark.parametrize(
        "unproven",
        [
            lambda env: setattr(env.hypervisor, "hanging", True),
            lambda env: env.hypervisor.moving.update(web1=JobSample()),
            lambda env: setattr(env.cluster, "quorate", False),
        ],
        ids=["libvirt hangs", "a job is under way", "no quorum"],
    )
    def test_nothing_is_done_without_proof(self, env, held, unproven):
        unproven(env)
        assert not unblock(env, held)
        assert env.cluster.held

    def test_unreadable_process_is_no_proof(self, env, held):
        def unknown(_name):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "whether it runs is unknown")

        env.processes.find_vm = unknown
        assert not unblock(env, held)
        assert env.cluster.held

    def test_another_node_does_not_act(self, env, held):
        env.cluster.local = "n3"
        assert unblock(env, held)
        assert env.cluster.held

    def test_guest_that_stands_since_the_migration_is_let_go_on(self, env, held):
        env.hypervisor.halted[held] = "migrating"
        assert unblock(env, held)
        assert not env.hypervisor.halted

    def test_guest_that_its_user_has_paused_stays_paused(self, env, held):
        env.hypervisor.halted[held] = "user"
        assert unblock(env, held)
        assert env.hypervisor.halted

    @pytest.mark.parametrize("lost", [True, False], ids=["it is gone", "post-copy has failed"])
    def test_vm_that_is_not_here_any_more_is_looked_for_everywhere(self, env, held, lost):
        looked = []
        env.cluster.reprobe = looked.append
        if lost:
            env.hypervisor.running.pop(held)
        else:
            env.hypervisor.halted[held] = "post-copy failed"
        assert unblock(env, held)
        assert looked == [held]

    @pytest.mark.parametrize(
        "unproven",
        [
            lambda env: None,
            lambda env: setattr(env.hypervisor, "hanging", True),
            lambda env: env.hypervisor.halted.update(web1="post-copy failed"),
        ],
        ids=["it runs", "libvirt hangs", "post-copy has failed"],
    )
    def test_node_that_shuts_down_ends_in_a_restart_and_its_history_stays(self, env, held, unproven):
        env.cluster.nodes["n1"] = env.cluster.nodes["n1"]._replace(shutting_down=True)
        env.cluster.cleanup_failed = env.cluster.reprobe = None
        unproven(env)
        with env.intent_log.lock(held):  # a command that waits can't help it
            assert unblock(env, held)
        assert held in env.cluster.restarting
        assert not env.cluster.moves

    def test_vm_that_is_gone_is_looked_for_when_its_node_shuts_down_too(self, env, held):
        looked = []
        env.cluster.reprobe = looked.append
        env.cluster.nodes["n1"] = env.cluster.nodes["n1"]._replace(shutting_down=True)
        env.hypervisor.running.pop(held)
        assert unblock(env, held)
        assert looked == [held]
        assert not env.cluster.restarting

    def test_command_clears_nothing_of_a_node_that_shuts_down(self, env, vm):
        env.cluster.failing_migrations[vm] = FAILED
        env.cluster.cleanup_failed = env.cluster.reprobe = None
        env.cluster.nodes["n1"] = env.cluster.nodes["n1"]._replace(shutting_down=True)
        assert "shut down" in failure(env, vm, "n2").message
        assert env.cluster.held
        start(env, vm)


class TestChecks:
    def test_what_the_target_lacks_is_told_at_once_and_nothing_moves(self, env, vm):
        env.hypervisor.refusals = [
            VmMgrError(Kind.NOT_SUPPORTED, "n2 can't run the machine", hint="upgrade"),
            VmMgrError(Kind.NO_RESOURCES, "n2 has no memory", hint="free some"),
        ]
        env.cluster.sets = {"vm-mgr-dir-vms": frozenset({"n1"})}
        env.storages.parts = lambda _name: ClusterParts(depends_on=(Dependency("vm-mgr-dir-vms"),))
        error = failure(env, vm, "n2")
        kinds = [one.kind for one in (error, *error.others)]
        assert kinds == [Kind.WRONG_STATE, Kind.NOT_SUPPORTED, Kind.NO_RESOURCES]
        assert all(one.hint for one in (error, *error.others))
        assert not env.cluster.terms

    def test_libvirt_that_does_not_answer_is_told(self, env, vm):
        def unreachable(_xml):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "connection refused")

        env.hypervisor.migration_problems = unreachable
        error = failure(env, vm, "n2")
        assert error.kind is Kind.WRONG_STATE
        assert "libvirtd" in error.hint
        assert not env.cluster.terms

    def test_one_node_of_several_is_enough(self, env, vm):
        answers = [[VmMgrError(Kind.NO_RESOURCES, "n2 is full", hint="x")], []]
        env.hypervisor.migration_problems = lambda _xml: answers.pop(0)
        migrate(env, vm)
        assert notes(env) == ["node-unfit"]

    def test_observer_says_that_it_can_not_ask_and_moves(self, env, vm):
        env.cluster.nodes["n1"] = env.cluster.nodes["n1"]._replace(observer=True)
        env.cluster.places[vm] = "n2"
        env.hypervisor.migration_problems = env.hypervisor.dirty_rate = env.hypervisor.migration_progress = (
            None
        )
        assert migrate(env, vm, "n3", MigrateOptions(parallel=2)).node == "n3"
        assert notes(env) == ["not-checked"]
        assert parse_terms(env.cluster.terms[vm]) == {"parallel": "2"}

    def test_stop_and_start_needs_no_libvirt(self, env, vm):
        set_vm(env, vm, Changes({"live_migration": False}))
        env.hypervisor.migration_problems = None
        assert migrate(env, vm, "n2").node == "n2"

    def test_start_that_fails_at_the_target_is_told_once_the_vm_runs_elsewhere(self, env, vm):
        set_vm(env, vm, Changes({"live_migration": False}))
        env.cluster.stuck.add(vm)
        real = env.cluster.state

        def recovered():
            state = real()
            if not env.cluster.moves:
                return state
            failed = Failure("start on n2: no such disk", "Mon", "start", "n2")
            resource = state.resources[vm]._replace(failures=(failed,), pending="", role="Started")
            return state._replace(resources={**state.resources, vm: resource})

        env.cluster.state = recovered
        began = env.clock.monotonic()
        error = failure(env, vm, "n2")
        assert "Started on n1: start on n2: no such disk" in error.message
        assert env.clock.monotonic() - began < 30


class TestTerms:
    def test_terms_reach_the_agent_with_the_picked_strategy(self, env, vm):
        env.hypervisor.dirty_rates[vm] = 90.0 * MIB
        wanted = MigrateOptions(bandwidth_mib=1, timeout_s=60, on_timeout=OnTimeout.ABORT, parallel=2)
        migrate(env, vm, "n2", wanted)
        terms = parse_terms(env.cluster.terms[vm])
        assert terms.pop("reason").startswith("the guest changes 90 MiB/s")
        assert terms == {
            "strategy": "auto-converge",
            "bandwidth": "1",
            "timeout": "60",
            "timeout-action": "abort",
            "parallel": "2",
        }
        assert notes(env, Level.INFO) == ["migration-plan"]

    def test_second_of_measuring_passes_while_the_target_is_asked(self, env, vm):
        meanwhile = []
        env.hypervisor.migration_problems = lambda _xml: meanwhile.extend(env.hypervisor.measuring) or []
        migrate(env, vm, "n2")
        assert meanwhile == [vm]
        assert not env.hypervisor.measuring

    def test_given_strategy_is_not_measured(self, env, vm):
        env.hypervisor.dirty_rate = env.hypervisor.begin_dirty_rate = None
        migrate(env, vm, "n2", MigrateOptions(strategy=Strategy.POSTCOPY))
        assert parse_terms(env.cluster.terms[vm]) == {"strategy": "postcopy"}

    def test_strategy_of_the_vm_is_left_to_its_agent(self, env, vm):
        set_vm(env, vm, Changes({"migration_strategy": "precopy"}))
        disable(env, vm)
        node = enable(env, vm).node
        migrate(env, vm, "n3" if node != "n3" else "n2")
        assert env.cluster.terms[vm] == ""

    @pytest.mark.parametrize(
        "terms",
        [
            MigrateOptions(timeout_s=109),
            MigrateOptions(strategy=Strategy.POSTCOPY, parallel=2),
        ],
    )
    def test_what_can_not_be_done_is_refused(self, env, vm, terms):
        assert failure(env, vm, "n2", terms).kind is Kind.INVALID
        assert not env.cluster.terms

    def test_terms_of_a_vm_without_live_migration_are_refused(self, env, vm):
        set_vm(env, vm, Changes({"live_migration": False}))
        assert failure(env, vm, "n2", MigrateOptions(parallel=2)).kind is Kind.INVALID

    def test_other_agent_can_not_be_told(self, env, vm):
        real = env.cluster.state

        def state():
            seen = real()
            foreign = seen.resources[vm]._replace(agent="ocf:heartbeat:VirtualDomain")
            return seen._replace(resources={vm: foreign})

        env.cluster.state = state
        assert failure(env, vm, "n2", MigrateOptions(parallel=2)).kind is Kind.NOT_SUPPORTED

    @pytest.mark.parametrize(
        "changes",
        [
            {"migration_strategy": "fast"},
            {"migration_timeout_action": "restart"},
            {"migration_strategy": "postcopy", "migration_parallel": 2},
        ],
    )
    def test_settings_that_can_not_be_are_refused(self, env, vm, changes):
        with pytest.raises(VmMgrError) as caught:
            set_vm(env, vm, Changes(changes))
        assert caught.value.kind is Kind.INVALID
        assert caught.value.hint

    def test_settings_are_the_agents_parameters(self, env, vm):
        changes = {
            "migration_strategy": "auto-converge",
            "migration_bandwidth_mib": 100,
            "migration_parallel": 4,
            "migration_timeout_action": "abort",
            "migration_max_pause_s": 3,
        }
        set_vm(env, vm, Changes(changes))
        disable(env, vm)
        enable(env, vm)
        params = env.cluster.resources[vm].params
        assert {key: value for key, value in params.items() if key != "migration_network_suffix"} == {
            "migration_strategy": "auto-converge",
            "migration_speed": "100",
            "migration_parallel": "4",
            "migration_timeout_action": "abort",
            "migration_max_pause": "3",
        }


def test_progress_shows_bytes_rates_and_the_end(env, vm):
    sample = JobSample(4.0, 30 * MIB, 70 * MIB, 100 * MIB, 10.0 * MIB, 3.0 * MIB, throttle_percent=20)
    env.hypervisor.moving[vm] = sample
    env.cluster.stuck.add(vm)
    looks = []

    def sleep(seconds):
        env.clock.now += seconds
        looks.append(seconds)
        if len(looks) == 3:
            env.cluster.stuck.clear()

    env.clock.sleep = sleep
    migrate(env, vm, "n2")
    told = [one for one in env.said if isinstance(one, Progress) and one.detail]
    assert told[0].fraction == 0.3
    for part in ("30 of 100 MiB", "10 MiB/s", "dirties 3 MiB/s", "10 s left", "20%"):
        assert part in told[0].detail


def test_cluster_is_seldom_asked_while_memory_is_sent(env, vm, monkeypatch):
    env.hypervisor.moving[vm] = JobSample(processed_bytes=30 * MIB, remaining_bytes=70 * MIB)
    env.cluster.stuck.add(vm)
    asked, state = [], env.cluster.state
    monkeypatch.setattr(env.cluster, "state", lambda: asked.append(env.clock.now) or state())

    def sleep(seconds):
        env.clock.now += seconds
        if env.clock.now > began + 8:
            env.hypervisor.moving.clear()
            env.cluster.stuck.clear()

    env.clock.sleep, began = sleep, env.clock.now
    migrate(env, vm, "n2")
    sending = [when for when in asked if began < when <= began + 8]
    assert 3 <= len(sending) <= 5


def test_progress_that_can_not_be_seen_is_told_once(env, vm):
    def unreachable(_name):
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "no route to host")

    env.hypervisor.migration_progress = unreachable
    env.cluster.stuck.add(vm)

    def sleep(seconds):
        env.clock.now += 2
        if env.clock.now > 20:
            env.cluster.stuck.clear()

    env.clock.sleep = sleep
    migrate(env, vm, "n2")
    assert notes(env) == ["no-progress"]


def test_view_of_a_resource_that_is_blocked_for_other_reasons():
    broken = Resource("web1", blocked=True, failures=(Failure("stop on n1: x", "", "stop", "n1"),))
    assert broken.blocked_on == ""


class TestForecast:
    """An idle guest's rates jump from look to look; what is said of the end does not."""

    def said(self, *looks, every_s=1.0):
        forecast, said = Forecast(), []
        for at, (left, rate, dirty) in enumerate(looks):
            sample = JobSample(remaining_bytes=left * MIB, rate_bps=rate * MIB, dirty_bps=dirty * MIB)
            forecast.look(sample, 1000 + at * every_s)
            said.append(forecast.words())
        return said

    def test_rates_that_take_turns_do_not_change_the_forecast_each_time(self):
        looks = [(900 - 15 * at, 40, (0, 60, 10, 45)[at % 4]) for at in range(40)]
        said = self.said(*looks, every_s=0.5)
        assert all(words.endswith(" s left") for words in said if words)
        assert len([words for words in said if not words]) < 10

    def test_guest_that_dirties_as_fast_as_it_is_sent_has_no_end_but_not_at_once(self):
        said = self.said(*[(500, 40, 60)] * 8)
        assert said == [""] * 5 + ["no end in sight"] * 3

    def test_no_end_is_not_said_just_before_the_end(self):
        said = self.said(*[(500, 40, 60)] * 7, (30, 40, 60), (10, 40, 200))
        assert said[-3:] == ["no end in sight", "", ""]

    def test_end_comes_into_sight_when_the_guest_is_slowed_down(self):
        said = self.said(*[(500, 40, 60)] * 7, *[(400, 40, 0)] * 4)
        assert said[6] == "no end in sight"
        assert said[-1].endswith(" s left")

    def test_rate_that_is_not_known_is_no_end(self):
        assert self.said(*[(500, 0, 0)] * 3) == ["", "", ""]

    def test_job_tells_the_smoothed_rates(self, env, vm, monkeypatch):
        samples = [
            JobSample(processed_bytes=10 * MIB, remaining_bytes=90 * MIB, rate_bps=40.0 * MIB, dirty_bps=rate)
            for rate in (0.0, 80.0 * MIB)
        ]
        monkeypatch.setattr(env.hypervisor, "migration_progress", lambda _name: samples.pop(0))
        job = Job(env, vm, "n1", asks=True)
        assert job.is_sending()
        assert job.last.detail == "10 of 100 MiB, 40 MiB/s, dirties 0 MiB/s, 2 s left"
        env.clock.sleep(0.5)
        assert job.is_sending()
        assert job.last.detail == "10 of 100 MiB, 40 MiB/s, dirties 13 MiB/s, 3 s left"
        assert job.sample.dirty_bps == 80 * MIB

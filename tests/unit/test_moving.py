"""The agent's part of a move: what it asks of libvirt, and what happens when nobody waits for a failure."""

import os
import time

import pytest

from vm_mgr.adapters.host.timers import SystemdTimers
from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.adapters.memory.hypervisor import MemoryHypervisor
from vm_mgr.agent import identity, retry_backoff, state_files
from vm_mgr.agent.moving import Teller, migrate_to
from vm_mgr.agent.parameters import Parameters
from vm_mgr.agent.preemption import RecoveryWatch
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import Failure, Resource
from vm_mgr.model.event import EventKind
from vm_mgr.model.migration import (
    PREEMPTED,
    Decision,
    JobSample,
    OnTimeout,
    Plan,
    Step,
    Strategy,
    render_terms,
)
from vm_mgr.model.vm import TargetRole
from vm_mgr.ocf import __main__ as agent
from vm_mgr.ocf import unblock
from vm_mgr.ocf.parameters import read
from vm_mgr.operations.migration.options import MigrateOptions, agent_terms
from vm_mgr.ports.cluster import Move, VmResource
from vm_mgr.ports.runner import Completed

GIVEN = Parameters(name="web1", timeout_s=120, target_node="n2")
MIB = 1 << 20
OURS, OTHER = (f"5f3c0000-0000-4000-8000-00000000000{last}" for last in (1, 2))


@pytest.fixture
def node(env, tmp_path):
    env.state_dir = tmp_path / "state"
    env.hypervisor.running["web1"] = 1000
    env.cluster.add(VmResource("web1", TargetRole.STARTED, live_migration=True, preferred_host="n1"))
    env.cluster.state()
    return env


def fails(node, reason="no ssh", **changes):
    node.hypervisor.failing_moves["web1"] = reason
    with pytest.raises(VmMgrError):
        migrate_to(node, GIVEN._replace(**changes))
    return node.hypervisor.migrated[-1]


def parameters(**given):
    named = {f"OCF_RESKEY_{key}": value for key, value in given.items()}
    return read({"OCF_RESOURCE_INSTANCE": "web1", **named})


def test_successful_move_leaves_no_timer_and_no_count(node):
    migrate_to(node, GIVEN)
    assert node.timers.lifts == {}
    assert retry_backoff.count(node, "web1") == 0


class TestAskedAgain:
    """A new DC calls once more for a migrate_to that has ended under the old one."""

    @pytest.fixture
    def left(self, node):
        there = MemoryHypervisor()
        node.hypervisor.running.clear()
        node.hypervisor_at = {"n1": node.hypervisor, "n2": there}.__getitem__
        return there

    @pytest.mark.parametrize(("stands", "known"), [("", True), ("", False), ("user", False)])
    def test_vm_that_runs_at_its_target_has_been_moved(self, node, left, stands, known):
        left.running["web1"] = 1000
        left.halted.update({"web1": stands} if stands else {})
        left.xmls["web1"] = f"<domain><uuid>{OURS}</uuid></domain>"
        if known:
            identity.expect(node, "web1", OURS)
        migrate_to(node, GIVEN)
        assert not node.hypervisor.migrated
        assert node.timers.lifts == {}
        assert retry_backoff.count(node, "web1") == 0

    @pytest.mark.parametrize(
        "disturb",
        [
            lambda there: there.running.clear(),
            lambda there: there.halted.update(web1="migrating"),
            lambda there: setattr(there, "hanging", True),
            lambda there: there.xmls.update(web1=f"<domain><uuid>{OTHER}</uuid></domain>"),
        ],
        ids=["it runs nowhere", "it has not arrived yet", "the target does not answer", "it is another one"],
    )
    def test_nothing_is_claimed_without_proof(self, node, left, disturb):
        left.running["web1"] = 1000
        disturb(left)
        identity.expect(node, "web1", OURS)
        with pytest.raises(VmMgrError) as caught:
            migrate_to(node, GIVEN)
        assert "n2" in caught.value.message
        assert node.timers.lifts


def test_timer_is_set_before_anything_moves(node):
    seen = []
    node.hypervisor.on_call = lambda verb: seen.append((verb, dict(node.timers.lifts)))
    migrate_to(node, GIVEN)
    at_move = dict(seen)["migrate"]
    assert [after_s > GIVEN.timeout_s for after_s in at_move.values()] == [True]


def test_each_failure_waits_longer_for_the_next_try(node):
    for pause_s in (5, 10, 20):
        fails(node)
        assert list(node.timers.lifts.values()) == [GIVEN.timeout_s + pause_s, pause_s]
        node.timers.lifts.clear()
    node.hypervisor.failing_moves.clear()
    migrate_to(node, GIVEN)
    node.hypervisor.running["web1"] = 1000
    fails(node)
    assert list(node.timers.lifts.values()) == [GIVEN.timeout_s + 5, 5]


def test_failures_of_long_ago_do_not_count(node):
    fails(node)
    old = time.time() - 4000
    os.utime(node.state_dir / "move-tries..web1", (old, old))
    assert retry_backoff.count(node, "web1") == 0


def test_failure_before_the_move_sets_the_timer_too(node):
    node.hypervisor.running.clear()
    with pytest.raises(VmMgrError):
        migrate_to(node, GIVEN)
    assert list(node.timers.lifts.values()) == [GIVEN.timeout_s + 5, 5]


def test_move_does_not_fail_for_a_timer_that_can_not_be_set(node, capsys):
    def broken(_name, _after_s):
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "no systemd")

    node.timers.schedule_unblock = broken
    migrate_to(node, GIVEN)
    assert "vm-mgr start web1" in capsys.readouterr().err


def test_node_that_shuts_down_pauses_without_a_limit(node):
    limits = fails(node, on_timeout=OnTimeout.ABORT).limits
    assert limits.on_timeout is OnTimeout.ABORT
    node.cluster.nodes["n1"] = node.cluster.nodes["n1"]._replace(shutting_down=True)
    limits = fails(node, on_timeout=OnTimeout.ABORT).limits
    assert (limits.on_timeout, limits.max_pause_s) == (OnTimeout.PAUSE, None)


def test_agent_picks_by_the_dirty_rate_and_says_why(node, capsys):
    node.hypervisor.dirty_rates["web1"] = 90.0 * MIB
    assert fails(node, speed_mib=50).plan.strategy is Strategy.AUTO_CONVERGE
    assert "90 MiB/s" in capsys.readouterr().err
    node.hypervisor.dirty_rates["web1"] = 1.0 * MIB
    assert fails(node, speed_mib=50).plan.strategy is Strategy.PRECOPY


def test_events_tell_what_was_picked_and_why(node):
    node.hypervisor.dirty_rates["web1"] = 1.0 * MIB
    fails(node, speed_mib=50)
    (event,) = node.journal.handed
    assert (event.kind, event.subject) == (EventKind.MOVING, "web1")
    assert event.detail.startswith("to n2 by precopy: the guest changes 1 MiB/s")


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        (agent_terms(MigrateOptions(), Plan(reason="it is idle: 0 MiB/s")), "precopy: it is idle: 0 MiB/s"),
        (agent_terms(MigrateOptions(strategy=Strategy.POSTCOPY), None), "postcopy: as asked for"),
    ],
)
def test_events_tell_why_the_command_has_picked_or_that_it_was_asked_for(node, terms, told):
    words = {"CRM_meta_vm_mgr_move": render_terms(terms), "CRM_meta_migrate_target": "n2"}
    migrate_to(node, parameters(**words))
    (event,) = node.journal.handed
    assert event.detail == f"to n2 by {told}"


def test_failed_move_leaves_known_which_process_is_the_vms(node):
    identity.remember(node, "web1", 1000)
    fails(node)
    assert state_files.path(node, "running", "web1").exists()
    node.hypervisor.failing_moves.clear()
    migrate_to(node, GIVEN)
    assert not state_files.path(node, "running", "web1").exists()


def test_move_does_not_fail_for_what_can_not_be_measured(node, capsys):
    def broken(*_):
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "no answer")

    node.cluster.state = node.hypervisor.running_definition = broken
    migrate_to(node, GIVEN)
    assert node.hypervisor.migrated[0].plan.strategy is Strategy.AUTO_CONVERGE
    assert capsys.readouterr().err.count("no answer") == 2


def test_decisions_and_progress_are_in_the_log_and_in_the_journal(node, capsys):
    tell = Teller(node, "web1", RecoveryWatch(node, "web1"))
    for second in range(30):
        tell(JobSample(elapsed_s=second, processed_bytes=5 * MIB), Decision(Step.GO_ON))
    tell(JobSample(elapsed_s=30), Decision(Step.PAUSE, "it is late"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert "5 MiB sent" in lines[0]
    assert "pause: it is late" in lines[-1]
    assert [f"vm-mgr: {line}" for line in node.journal.lines] == lines


def test_terms_of_a_move_stand_above_the_parameters():
    words = (
        "strategy=precopy bandwidth=8 timeout=30 timeout-action=abort max-pause=3 parallel=2 pause-early=1"
    )
    kept = {"migration_strategy": "postcopy", "migration_speed": "50", "migration_downtime": "300"}
    given = parameters(CRM_meta_vm_mgr_move=words, **kept)
    assert (given.strategy, given.speed_mib, given.downtime_ms) == (Strategy.PRECOPY, 8, 300)
    assert (given.move_timeout_s, given.on_timeout, given.max_pause_s) == (30, OnTimeout.ABORT, 3)
    assert (given.parallel, given.pause_early) == (2, True)
    alone = parameters(**kept)
    assert (alone.strategy, alone.speed_mib) == (Strategy.POSTCOPY, 50)
    assert parameters().strategy is Strategy.AUTO


def test_word_that_is_none_is_refused():
    with pytest.raises(VmMgrError) as caught:
        parameters(migration_strategy="fast")
    assert caught.value.kind is Kind.INVALID
    assert "auto-converge" in caught.value.message


def test_stop_goes_by_no_word_of_a_move():
    given = {"OCF_RESOURCE_INSTANCE": "web1", "OCF_RESKEY_migration_timeout_action": "wait"}
    assert read({**given, "OCF_RESKEY_migration_parallel": "few"}, strict=False).name == "web1"


def test_move_that_is_configured_wrongly_is_no_vm_that_can_run_nowhere(monkeypatch):
    monkeypatch.setenv("OCF_RESOURCE_INSTANCE", "web1")
    monkeypatch.setenv("OCF_RESKEY_migration_strategy", "fast")
    monkeypatch.setenv("VM_MGR_JOURNAL", "/nonexistent")
    assert agent.main("migrate_to") == agent.OCF_ERR_GENERIC
    assert agent.main("start") == agent.OCF_ERR_CONFIGURED


class TestLift:
    @pytest.fixture
    def held(self, node):
        node.cluster.failing_migrations["web1"] = "migrate_to on n1: no ssh"
        node.cluster.begin_move(Move("web1", "n1", "n2", lifetime_s=60))
        node.cluster.state()
        return node

    def test_done_is_done(self, held):
        assert unblock.main(held, "web1") == 0
        assert held.timers.lifts == {}
        assert not held.cluster.held

    def test_next_look_is_set_first_and_stays_until_it_is_done(self, held):
        held.hypervisor.hanging = True
        assert unblock.main(held, "web1") == 0
        assert list(held.timers.lifts.values()) == [5]
        held.timers.lifts.clear()

        def killed(_name):
            raise KeyboardInterrupt

        held.cluster.end_move = killed
        held.hypervisor.hanging = False
        with pytest.raises(KeyboardInterrupt):
            unblock.main(held, "web1")
        assert list(held.timers.lifts.values()) == [5]

    def test_failure_is_told_and_looked_at_again(self, held, capsys):
        def unreachable():
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "crm_mon failed")

        held.cluster.state = unreachable
        assert unblock.main(held, "web1") == 1
        assert "crm_mon failed" in capsys.readouterr().err
        assert held.timers.lifts


class Systemd:
    def __init__(self, exit_code=0):
        self.exit_code = exit_code
        self.calls = []

    def run(self, argv, *, timeout_s, stdin=None, on_line=None):
        self.calls.append(tuple(argv))
        return Completed(tuple(argv), self.exit_code, "", "no")


def test_timer_outlives_a_shutdown_that_has_begun():
    systemd = Systemd()
    timer = SystemdTimers(systemd, VirtualClock()).schedule_unblock("web1", 5.2)
    argv = systemd.calls[0]
    assert argv[0] == "systemd-run"
    for word in (
        "--on-active=5s",
        "--timer-property=DefaultDependencies=no",
        "--property=DefaultDependencies=no",
    ):
        assert word in argv
    assert argv[-3:] == ("-m", "vm_mgr.ocf.unblock", "web1")
    SystemdTimers(systemd, VirtualClock()).cancel(timer)
    assert systemd.calls[1] == ("systemctl", "stop", f"{timer}.timer")


def test_timer_that_is_refused_is_an_error():
    with pytest.raises(VmMgrError):
        SystemdTimers(Systemd(1), VirtualClock()).schedule_unblock("web1", 5)


LONG = JobSample(remaining_bytes=60 * MIB, rate_bps=MIB)


class TestGivingWay:
    """Pacemaker fences, and recovers, only when a migration under way has ended."""

    def lose(self, node, **changes):
        node.cluster.nodes["n3"] = node.cluster.nodes["n3"]._replace(online=False, **changes)

    def fail(self, node, name="web2", **failure):
        failed = (Failure("monitor on n3", "now", "monitor", "n3")._replace(**failure),)
        state = node.cluster.state()
        others = {**state.resources, name: Resource(name, failures=failed)}
        node.cluster.state = lambda: state._replace(resources=others)

    def test_a_node_that_has_to_be_fenced_goes_first(self, node):
        way = RecoveryWatch(node, "web1")
        assert way.reason(LONG) == ""
        self.lose(node, unclean=True)
        assert way.reason(LONG) == ""  # looked at once a second
        later = LONG._replace(elapsed_s=1.5)
        assert way.reason(later) == f"{PREEMPTED}: node n3 is lost"

    def test_a_vm_that_has_failed_goes_first(self, node):
        way = RecoveryWatch(node, "web1")
        self.fail(node)
        assert way.reason(LONG) == f"{PREEMPTED}: web2 has failed on n3"

    @pytest.mark.parametrize("failure", [{"task": "migrate_to"}, {"name": "web1"}])
    def test_moves_of_others_and_ones_own_past_do_not(self, node, failure):
        way = RecoveryWatch(node, "web1")
        self.fail(node, **failure)
        assert way.reason(LONG) == ""

    def test_what_was_lost_before_is_no_reason(self, node):
        self.lose(node, unclean=True)
        assert RecoveryWatch(node, "web1").reason(LONG) == ""

    def test_a_node_that_left_in_good_order_is_no_reason(self, node):
        way = RecoveryWatch(node, "web1")
        self.lose(node)
        assert way.reason(LONG) == ""

    @pytest.mark.parametrize("change", [{"remaining_bytes": MIB}, {"paused": True}])
    def test_a_move_that_is_about_to_end_goes_on(self, node, change):
        way = RecoveryWatch(node, "web1")
        self.lose(node, unclean=True)
        assert way.reason(LONG._replace(**change)) == ""

    @pytest.mark.parametrize("before", [True, False])
    def test_silent_cluster_is_no_reason(self, node, before):
        state = node.cluster.state

        def silent():
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "no answer")

        node.cluster.state = silent if before else state
        way = RecoveryWatch(node, "web1")
        node.cluster.state = state if before else silent
        self.lose(node, unclean=True)
        assert way.reason(LONG) == ""

    def test_on_a_node_that_shuts_down_nothing_goes_first(self, node, monkeypatch):
        tellers = []
        monkeypatch.setattr(node.hypervisor, "migrate", lambda _, tell: tellers.append(tell))
        monkeypatch.setattr("vm_mgr.agent.moving.wait_gone", lambda *_: True)
        for leaving in (False, True):
            monkeypatch.setattr("vm_mgr.agent.moving.is_shutting_down", lambda *_, now=leaving: now)
            migrate_to(node, GIVEN)
        assert [(tell.way.others, tell.way.target) for tell in tellers] == [
            (True, "node n2"),
            (False, "node n2"),
        ]

    @pytest.mark.parametrize("change", [{"remaining_bytes": 0}, {"paused": True}])
    def test_a_move_that_was_about_to_end_and_does_not_gives_way(self, node, change):
        way, ending = RecoveryWatch(node, "web1", "n2"), LONG._replace(**change)
        self.lose(node, unclean=True)
        seen = [way.reason(ending._replace(elapsed_s=second)) for second in range(6)]
        assert seen[:4] == [""] * 4
        assert seen[-1] == f"{PREEMPTED}: node n3 is lost"

    def test_a_move_that_goes_on_after_all_has_its_time_again(self, node):
        way, ending = RecoveryWatch(node, "web1", "n2"), LONG._replace(remaining_bytes=0)
        for second in range(3):
            assert way.reason(ending._replace(elapsed_s=second)) == ""
        assert way.reason(LONG._replace(elapsed_s=3)) == ""
        self.lose(node, unclean=True)
        assert way.reason(ending._replace(elapsed_s=3.5)) == ""
        assert way.reason(ending._replace(elapsed_s=5)) == ""

    @pytest.mark.parametrize("silent", [True, False])
    def test_lost_target_ends_it_whatever_is_known(self, node, silent):
        """Also on a node that shuts down, and where the cluster did not answer when the move began."""
        state = node.cluster.state
        if silent:
            node.cluster.state = lambda: (_ for _ in ()).throw(VmMgrError(Kind.EXTERNAL_FAILURE, "no answer"))
        way = RecoveryWatch(node, "web1", "n3", others=False)
        node.cluster.state = state
        assert way.reason(LONG) == ""
        self.lose(node, unclean=True)
        assert way.reason(LONG._replace(elapsed_s=2)) == f"{PREEMPTED}: node n3 is lost"

    def test_loss_of_others_does_not_end_it_on_a_node_that_shuts_down(self, node):
        way = RecoveryWatch(node, "web1", "n2", others=False)
        self.lose(node, unclean=True)
        assert way.reason(LONG._replace(elapsed_s=2)) == ""

    def test_the_reason_is_told_once_and_stays(self, node, capsys):
        tell = Teller(node, "web1", RecoveryWatch(node, "web1"))
        self.fail(node)
        for second in range(3):
            assert tell(LONG._replace(elapsed_s=second), Decision(Step.GO_ON)) == tell.ending != ""
        assert capsys.readouterr().err.count("abort: ") == 1

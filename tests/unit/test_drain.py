"""All VMs of a node leave it: in order, some at a time, and whatever happens without harm."""

import json

import pytest
from click.testing import CliRunner

from vm_mgr.adapters.dry_run.recorder import DryRunEnv
from vm_mgr.cli.app import app
from vm_mgr.errors import Kind, SignalError, VmMgrError
from vm_mgr.model.cluster import Resource
from vm_mgr.model.migration import AbortReason
from vm_mgr.model.on_move import MoveMethod
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.drain import DrainOptions, drain, require_empty
from vm_mgr.operations.migrate import migrate
from vm_mgr.operations.migration.options import MigrateOptions
from vm_mgr.operations.stop import stop
from vm_mgr.ports.cluster import SideEffect
from vm_mgr.reports import Level, Note, Progress

from .conftest import DOMAIN, have_aborts_told

LIVE = VmSettings(live_migration=True)
FAILED = "migrate_to on n1: it did not end within 98 s"


@pytest.fixture
def make(env, image):
    def make(name, settings=LIVE, **changes):
        create(env, CreateRequest(name, DOMAIN, (image,), settings._replace(**changes)))
        env.said.clear()

    return make


@pytest.fixture
def three(make):
    make("low", priority=1)
    make("high", priority=9)
    make("middle", priority=5)


@pytest.fixture
def begun(env):
    """Record the moves, and how many were under way at once."""
    moves, real_begin, real_end = [], env.cluster.begin_move, env.cluster.end_move
    moves_now, most = set(), [0]

    def begin(move):
        moves.append(move)
        moves_now.add(move.name)
        most[0] = max(most[0], len(moves_now))
        real_begin(move)

    def end(name):
        moves_now.discard(name)
        real_end(name)

    env.cluster.begin_move, env.cluster.end_move = begin, end
    moves_of = lambda: [move.name for move in moves]  # noqa: E731
    begin.moves, begin.most, begin.names = moves, most, moves_of
    return begin


def names(found):
    return [one.name for one in found]


def notes(env, code):
    return [one for one in env.said if isinstance(one, Note) and one.code == code]


def interrupt_at(env, look):
    """Let a signal arrive while the command sleeps for the n-th time."""
    real, left = env.clock.sleep, [look]

    def sleep(seconds):
        left[0] -= 1
        if left[0] == 0:
            raise SignalError(15)
        real(seconds)

    env.clock.sleep = sleep


@pytest.mark.usefixtures("three")
class TestOrder:
    def test_all_leave_and_the_important_ones_first(self, env, begun):
        drained = drain(env, "n1")
        assert begun.names() == ["high", "middle", "low"]
        assert sorted(names(drained.moved)) == ["high", "low", "middle"]
        assert {one.to for one in drained.moved} == {"n2"}
        assert {one.how for one in drained.moved} == {MoveMethod.LIVE}
        assert not drained.stays
        assert not env.cluster.moves
        assert not env.intent_log.locked

    @pytest.mark.parametrize("at_once", [1, 2, 5])
    def test_no_more_than_that_move_at_once(self, env, begun, at_once):
        env.cluster.stuck = {"low", "high", "middle"}
        looks = env.cluster.state

        def state():
            if len(env.cluster.moves) == min(at_once, 3 - done(env)):
                env.cluster.stuck -= set(env.cluster.moves)
            return looks()

        env.cluster.state = state
        drain(env, "n1", DrainOptions(at_once=at_once))
        assert begun.most == [min(at_once, 3)]

    def test_vms_of_other_nodes_and_stopped_ones_are_left_alone(self, env, begun):
        migrate(env, "low", "n3")
        stop(env, "middle")
        begun.moves.clear()
        assert names(drain(env, "n1").moved) == ["high"]
        assert begun.names() == ["high"]
        assert env.cluster.places["low"] == "n3"

    def test_vm_that_is_recovered_there_meanwhile_leaves_too(self, env, begun):
        env.cluster.places.pop("low")
        env.cluster.stuck.add("low")
        real = env.cluster.end_move

        def end(name):
            real(name)
            if name == "middle":
                env.cluster.places["low"] = "n1"
                env.cluster.stuck.clear()

        env.cluster.end_move = end
        assert sorted(names(drain(env, "n1", DrainOptions(at_once=1)).moved)) == ["high", "low", "middle"]

    def test_vm_that_went_along_with_another_is_not_moved_again(self, env, begun):
        real = env.cluster.begin_move

        def begin(move):
            real(move)
            env.cluster.places["low"] = "n3"

        env.cluster.begin_move = begin
        drained = drain(env, "n1", DrainOptions(at_once=1))
        assert begun.names() == ["high", "middle"]
        assert {one.name: one.to for one in drained.moved}["low"] == "n3"

    def test_terms_of_the_call_go_to_each_move(self, env, begun):
        drain(env, "n1", DrainOptions(terms=MigrateOptions(bandwidth_mib=8)))
        assert all("bandwidth=8" in move.options for move in begun.moves)


def done(env):
    return sum(env.cluster.places.get(name) != "n1" for name in ("low", "high", "middle"))


class TestStays:
    def test_pinned_vm_is_told_and_the_others_leave(self, env, make):
        make("web1")
        make("fixed", pinned_host="n1")
        drained = drain(env, "n1")
        assert names(drained.moved) == ["web1"]
        (kept,) = drained.stays
        assert (kept.name, "pinned" in kept.reason, "pinned-host" in kept.hint) == ("fixed", True, True)
        assert env.cluster.places["fixed"] == "n1"
        with pytest.raises(VmMgrError) as caught:
            require_empty(drained)
        assert caught.value.kind is Kind.WRONG_STATE
        assert "fixed" in caught.value.message
        assert caught.value.hint

    def test_vm_without_live_migration_is_restarted_only_if_asked_for(self, env, make, begun):
        make("old", live_migration=False)
        drained = drain(env, "n1")
        assert names(drained.stays) == ["old"]
        assert "--restart-others" in drained.stays[0].hint
        assert not begun.names()
        drained = drain(env, "n1", DrainOptions(restart_others=True, terms=MigrateOptions(bandwidth_mib=8)))
        assert [(one.name, one.how) for one in drained.moved] == [("old", MoveMethod.RESTARTED)]
        require_empty(drained)

    def test_pinned_vm_is_not_even_restarted(self, env, make, begun):
        make("fixed", live_migration=False, pinned_host="n1")
        assert names(drain(env, "n1", DrainOptions(restart_others=True)).stays) == ["fixed"]
        assert not begun.names()

    def test_failed_migration_is_told_and_the_others_leave(self, env, make):
        make("bad")
        make("good")
        env.cluster.failing_migrations["bad"] = FAILED
        drained = drain(env, "n1")
        assert names(drained.moved) == ["good"]
        assert "98 s" in drained.stays[0].reason
        assert env.cluster.places["bad"] == "n1"
        assert not env.cluster.moves
        assert not env.cluster.held

    def test_move_that_gave_way_is_made_again_after_the_fencing(self, env, make, begun):
        make("first")
        node, lost = env.cluster.nodes["n3"], env.cluster.nodes["n3"]._replace(online=False, unclean=True)
        env.cluster.failing_migrations["first"] = "migrate_to on n1: node n3 is lost"
        env.cluster.aborts["first"] = AbortReason.RECOVERY
        have_aborts_told(env)
        begin, sleep = env.cluster.begin_move, env.clock.sleep

        def beginning(move):
            begin(move)
            if not notes(env, "again"):
                env.cluster.nodes["n3"] = lost

        env.cluster.begin_move = beginning

        def sleeping(seconds):
            sleep(seconds)
            if notes(env, "again"):
                env.cluster.failing_migrations.clear()
                env.cluster.nodes["n3"] = node._replace(online=False)

        env.clock.sleep = sleeping
        drained = drain(env, "n1")
        assert (names(drained.moved), drained.stays) == (["first"], ())
        assert begun.names() == ["first", "first"]

    def test_move_that_gives_way_each_time_is_made_twice(self, env, make, begun):
        make("first")
        env.cluster.failing_migrations["first"] = "migrate_to on n1: web has failed on n2"
        env.cluster.aborts["first"] = AbortReason.RECOVERY
        have_aborts_told(env)
        assert names(drain(env, "n1").stays) == ["first"]
        assert begun.names() == ["first", "first"]

    def test_vm_that_another_command_has_is_told(self, env, make):
        make("busy")
        with env.intent_log.lock("busy"):
            assert names(drain(env, "n1").stays) == ["busy"]

    def test_unmanaged_vm_is_told(self, env, make):
        make("web1")
        real = env.cluster.state

        def state():
            seen = real()
            resources = {name: one._replace(managed=False) for name, one in seen.resources.items()}
            return seen._replace(resources=resources)

        env.cluster.state = state
        assert "does not manage" in drain(env, "n1").stays[0].reason

    def test_nothing_but_vms_is_moved(self, env, begun):
        env.cluster.foreign["address"] = Resource("address", "ocf:x:IPaddr2", active=True, nodes=("n1",))
        assert drain(env, "n1").moved == ()
        assert not begun.names()


class TestHarm:
    def test_vm_that_would_be_stopped_stays(self, env, make, begun):
        make("web1")
        env.cluster.harms["web1"] = {"web1": SideEffect.STOPPED}
        (kept,) = drain(env, "n1").stays
        assert ("no other node" in kept.reason, bool(kept.hint)) == (True, True)
        assert not begun.names()
        with pytest.raises(VmMgrError) as caught:
            migrate(env, "web1")
        assert caught.value.kind is Kind.NO_RESOURCES
        with pytest.raises(VmMgrError) as caught:
            migrate(env, "web1", "n3")
        assert caught.value.kind is Kind.NO_RESOURCES

    def test_vm_that_drags_along_one_without_live_migration_stays_unless_that_may_be(self, env, make):
        make("db1", live_migration=False)
        make("web1")
        env.cluster.harms["web1"] = {"db1": SideEffect.RESTARTED, "address": SideEffect.STOPPED}
        assert sorted(names(drain(env, "n1").stays)) == ["db1", "web1"]
        drained = drain(env, "n1", DrainOptions(restart_others=True))
        assert sorted(names(drained.moved)) == ["db1", "web1"]
        assert ["db1" in one.message for one in notes(env, "restarts")] == [True]

    def test_what_can_not_be_foreseen_is_told_and_keeps_no_vm(self, env, make):
        make("web1")

        def fails(*_, **__):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "crm_simulate failed")

        env.cluster.simulate_move = fails
        assert names(drain(env, "n1").moved) == ["web1"]
        assert notes(env, "not-foreseen")


class TestNode:
    @pytest.mark.parametrize(
        ("name", "change", "kind"),
        [
            ("n9", {}, Kind.NOT_FOUND),
            ("n2", {"online": False}, Kind.WRONG_STATE),
            ("n2", {"standby": True}, Kind.WRONG_STATE),
            ("n2", {"shutting_down": True}, Kind.WRONG_STATE),
            ("n2", {"maintenance": True}, Kind.WRONG_STATE),
            ("n2", {"observer": True}, Kind.INVALID),
        ],
    )
    def test_node_that_can_not_be_drained_is_refused(self, env, name, change, kind):
        env.cluster.nodes["n2"] = env.cluster.nodes["n2"]._replace(**change)
        with pytest.raises(VmMgrError) as caught:
            drain(env, name)
        assert caught.value.kind is kind
        assert caught.value.hint

    def test_node_that_somebody_drains_already_is_refused(self, env):
        with env.intent_log.lock("drain-n1"), pytest.raises(VmMgrError) as caught:
            drain(env, "n1")
        assert caught.value.kind is Kind.TRY_LATER

    def test_nothing_is_moved_to_another_node_that_is_drained(self, env, make, begun):
        make("web1")
        with env.intent_log.lock("drain-n2"):
            assert drain(env, "n1").moved[0].to == "n3"
        assert begun.moves[0].avoid == {"n2"}

    def test_without_any_other_node_the_vms_stay(self, env, make, begun):
        make("web1")
        with env.intent_log.lock("drain-n2"), env.intent_log.lock("drain-n3"):
            drained = drain(env, "n1")
        assert "n2, n3" in drained.stays[0].reason
        assert not begun.names()


class TestStandby:
    def test_empty_node_is_put_in_standby(self, env, make):
        make("web1")
        assert drain(env, "n1", DrainOptions(standby=True)).standby
        assert env.cluster.nodes["n1"].standby

    def test_node_that_still_has_a_vm_is_not(self, env, make):
        make("fixed", pinned_host="n1")
        assert not drain(env, "n1", DrainOptions(standby=True)).standby
        assert not env.cluster.nodes["n1"].standby
        assert notes(env, "no-standby")

    def test_vm_that_would_return_leaves_by_standby(self, env, make, begun):
        make("home", preferred_host="n1", failback="return")
        assert names(drain(env, "n1").stays) == ["home"]
        drained = drain(env, "n1", DrainOptions(standby=True))
        assert (names(drained.moved), drained.standby) == (["home"], True)
        assert env.cluster.places["home"] == "n2"
        assert not begun.names()

    def test_vm_that_standby_does_not_move_is_told(self, env, make):
        make("home", preferred_host="n1", failback="return")
        env.cluster.failing_migrations["home"] = FAILED
        drained = drain(env, "n1", DrainOptions(standby=True))
        assert names(drained.stays) == ["home"]
        assert drained.standby


@pytest.mark.usefixtures("three")
class TestInterruption:
    @pytest.mark.parametrize("look", [1, 2, 3])
    def test_signal_ends_every_move_that_is_under_way(self, env, look):
        cancelled = []
        env.hypervisor.abort_job = cancelled.append
        env.cluster.stuck = {"low", "high", "middle"}
        interrupt_at(env, look)
        with pytest.raises(SignalError):
            drain(env, "n1")
        assert sorted(cancelled) == ["high", "middle"]
        assert not env.cluster.moves
        assert not env.intent_log.locked
        assert set(env.cluster.places.values()) == {"n1"}

    def test_one_move_that_can_not_be_ended_does_not_keep_the_others(self, env):
        env.cluster.stuck = {"low", "high", "middle"}
        real = env.cluster.end_move

        def end(name):
            if name == "high":
                raise VmMgrError(Kind.EXTERNAL_FAILURE, "cibadmin failed")
            real(name)

        env.cluster.end_move = end
        interrupt_at(env, 2)
        with pytest.raises(SignalError):
            drain(env, "n1")
        assert set(env.cluster.moves) == {"high"}
        assert "high" in notes(env, "goes-on")[0].message
        assert not env.intent_log.locked

    def test_signal_in_the_middle_of_a_look_ends_all_moves_too(self, env):
        cancelled = []
        env.hypervisor.abort_job = cancelled.append
        env.cluster.stuck = {"low", "high", "middle"}
        real, looks = env.cluster.state, [0]

        def state():
            looks[0] += 1
            if len(env.cluster.moves) == 2 and looks[0] % 2:
                raise SignalError(2)
            return real()

        env.cluster.state = state
        with pytest.raises(SignalError):
            drain(env, "n1")
        assert not env.cluster.moves
        assert not env.intent_log.locked
        assert "high" in cancelled


@pytest.mark.usefixtures("three")
class TestReports:
    def test_each_vm_is_told_and_progress_is_one_step(self, env):
        env.cluster.stuck = {"low", "high", "middle"}
        real = env.clock.sleep

        def sleep(seconds):
            real(seconds)
            env.cluster.stuck.clear()

        env.clock.sleep = sleep
        drain(env, "n1")
        assert {one.step for one in env.said if isinstance(one, Progress)} == {"draining n1"}
        assert any("moving high" in one.detail and "moving middle" in one.detail
                   for one in env.said if isinstance(one, Progress))  # fmt: skip
        told = [one.message for one in notes(env, "moved")]
        assert len(told) == 3
        assert "(3 of 3)" in told[-1]

    def test_remarks_of_a_move_name_their_vm(self, env):
        drain(env, "n1")
        plans = notes(env, "migration-plan")
        assert len(plans) == 3
        assert {one.message.partition(":")[0] for one in plans} == {"high", "middle", "low"}

    def test_warnings_keep_their_level(self, env, make):
        make("old", live_migration=False)
        drain(env, "n1", DrainOptions(restart_others=True))
        assert [one.level for one in notes(env, "not-live")] == [Level.WARNING]


@pytest.mark.usefixtures("three")
class TestDryRun:
    def test_steps_are_told_and_nothing_is_changed(self, env, make):
        make("home", preferred_host="n1", failback="return")
        steps = []
        drained = drain(DryRunEnv(env, steps.append), "n1", DrainOptions(at_once=1, standby=True))
        moves = [step for step in steps if step.startswith("move ")]
        assert [step.split()[1] for step in moves] == ["high", "middle", "low"]
        assert steps[-1] == "put n1 in standby until it is booted the next time"
        assert sorted(names(drained.moved)) == ["high", "home", "low", "middle"]
        assert set(env.cluster.places.values()) == {"n1"}
        assert not env.cluster.nodes["n1"].standby


class TestCommand:
    def shell(self, env, *words):
        return CliRunner(mix_stderr=False).invoke(app, ["migrate", *words], obj=env)

    def test_data_have_what_went_where_and_what_did_not(self, env, make):
        make("web1")
        make("fixed", pinned_host="n1")
        done = self.shell(env, "--all-from", "n1", "--output", "json", "--standby")
        assert done.exit_code == 5
        data = json.loads(done.stdout)
        assert (data["node"], data["standby"]) == ("n1", False)
        (moved,), (stays,) = data["moved"], data["stays"]
        assert {**moved, "took_s": 0} == {"name": "web1", "to": "n2", "how": "live", "took_s": 0}
        assert (stays["name"], bool(stays["reason"]), bool(stays["hint"])) == ("fixed", True, True)
        assert "fixed" in done.stderr

    def test_table_has_all_and_a_summary(self, env, make):
        make("web1")
        done = self.shell(env, "--all_from", "n1", "--at-once", "1")
        assert done.exit_code == 0
        assert done.stdout.splitlines()[0].split() == ["VM", "NODE", "HOW", "SECONDS"]
        assert done.stdout.splitlines()[-1] == "n1: 1 moved, 0 still there"
        assert "crm_standby" not in done.stdout
        assert "web1 is on n2, live" in done.stderr

    def test_standby_names_the_way_back(self, env, make):
        make("web1")
        done = self.shell(env, "--all-from", "n1", "--standby")
        assert done.exit_code == 0
        assert env.cluster.nodes["n1"].standby
        assert done.stdout.splitlines()[-2:] == [
            "n1: 1 moved, 0 still there; in standby until it is booted the next time",
            "to end the standby before that: crm_standby -N n1 -l reboot -D",
        ]

    def test_dry_run_ends_as_the_command_would(self, env, make):
        make("web1")
        make("fixed", pinned_host="n1")
        done = self.shell(env, "--all-from", "n1", "--dry-run")
        assert done.exit_code == 5
        assert done.stdout.splitlines()[0].startswith("1. move web1 from n1 to another node")
        assert done.stdout.splitlines()[-1] == "nothing was changed"
        assert env.cluster.places["web1"] == "n1"

    @pytest.mark.parametrize(
        "words",
        [
            [],
            ["web1", "--all-from", "n1"],
            ["web1", "--standby"],
            ["web1", "--at-once", "3"],
            ["--all-from", "n1", "--at-once", "0"],
            ["web1", "n2", "n3"],
        ],
    )
    def test_what_does_not_go_together_is_refused(self, env, words):
        done = self.shell(env, *words)
        assert done.exit_code == 2
        assert done.stderr.startswith("vm-mgr: error: ")

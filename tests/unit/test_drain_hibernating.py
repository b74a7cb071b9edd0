"""VMs that hibernate leave a node in a drain, and return home, with their memory."""

import pytest
from click.testing import CliRunner

from vm_mgr.adapters.dry_run.recorder import DryRunEnv
from vm_mgr.adapters.pacemaker import cib_write
from vm_mgr.adapters.pacemaker.cib_read import read_configured
from vm_mgr.adapters.pacemaker.moves import add_move
from vm_mgr.cli.app import app
from vm_mgr.errors import Kind, SignalError, VmMgrError
from vm_mgr.model.cluster import ClusterState, Node, Resource
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.on_move import MoveMethod
from vm_mgr.model.vm import TargetRole, VmSettings
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.drain import DrainOptions, drain
from vm_mgr.operations.migrate import migrate
from vm_mgr.operations.migration.options import MigrateOptions
from vm_mgr.operations.migration.outcome import longest_s
from vm_mgr.operations.migration.stop_reason import move_reason
from vm_mgr.operations.set_vm import Changes, set_vm
from vm_mgr.operations.status import status
from vm_mgr.ports.cluster import Move, SideEffect, VmResource
from vm_mgr.reports import Note

from .conftest import DOMAIN

EMPTY = """<cib epoch="4" num_updates="7"><configuration><crm_config/><nodes/><resources/><constraints/>
</configuration></cib>"""


@pytest.fixture
def make(env, image):
    def make(name, **settings):
        create(
            env, CreateRequest(name, DOMAIN, (image,), VmSettings(**({"on_move": "hibernate"} | settings)))
        )
        env.said.clear()

    return make


@pytest.fixture
def vm(make):
    make("web1")
    return "web1"


def tell(env, name, kind, *, detail=""):
    env.event_log.append([Event(env.clock.utc() + 0.1, kind, name, "n2", detail)])


def told_at_end_of_move(env, kind):
    """Let the chronicle have it as soon as the move is over, which is when the agents have written it."""
    real = env.cluster.end_move

    def end(name):
        real(name)
        tell(env, name, kind)

    env.cluster.end_move = end


def codes(env):
    return [one.code for one in env.said if isinstance(one, Note)]


def ways(drained):
    return [(one.name, one.to, one.how) for one in drained.moved]


class TestDrain:
    @pytest.mark.parametrize(
        ("kind", "how"),
        [
            (EventKind.RESUMED, MoveMethod.RESUMED),
            (EventKind.NOT_RESUMED, MoveMethod.RESTARTED),
            (EventKind.NOT_SAVED, MoveMethod.RESTARTED),
        ],
    )
    def test_vm_leaves_without_being_asked_and_it_is_told_how(self, env, vm, kind, how):
        told_at_end_of_move(env, kind)
        drained = drain(env, "n1")
        assert (ways(drained), drained.stays) == ([(vm, "n2", how)], ())
        assert "hibernating" in codes(env)
        assert ("not-resumed" in codes(env)) is (how is MoveMethod.RESTARTED)
        assert not {"not-live", "restarts"} & set(codes(env))

    def test_old_event_says_nothing_about_this_move(self, env, vm):
        tell(env, vm, EventKind.RESUMED)
        env.clock.sleep(600)
        assert ways(drain(env, "n1")) == [(vm, "n2", MoveMethod.UNKNOWN)]
        assert "see-events" in codes(env)

    def test_dry_run_tells_no_outcome(self, env, vm):
        drained = drain(DryRunEnv(env, [].append), "n1")
        assert [one.name for one in drained.moved] == [vm]
        assert not {"moved", "see-events"} & set(codes(env))
        assert "hibernating" in codes(env)

    def test_its_move_gets_no_terms_of_a_live_migration(self, env, vm):
        drain(env, "n1", DrainOptions(terms=MigrateOptions(bandwidth_mib=8)))
        assert env.cluster.places[vm] == "n2"
        assert env.cluster.terms[vm] == ""

    def test_only_the_one_that_can_just_be_restarted_stays(self, env, make, vm):
        make("old", on_move=None)
        make("new", live_migration=True, on_move=None)
        told_at_end_of_move(env, EventKind.RESUMED)
        drained = drain(env, "n1")
        assert sorted(ways(drained)) == [("new", "n2", MoveMethod.LIVE), (vm, "n2", MoveMethod.RESUMED)]
        assert [one.name for one in drained.stays] == ["old"]

    def test_waiting_for_its_event_keeps_no_other_move_back(self, env, make, vm):
        """With one VM at a time the other would begin 5 s later."""
        make("new", live_migration=True, on_move=None, priority=1)
        env.cluster.stuck = {"new"}
        real = env.clock.sleep

        def sleep(seconds):
            real(seconds)
            if env.cluster.places[vm] == "n2":
                env.cluster.stuck.clear()

        env.clock.sleep = sleep
        took = {one.name: one.took_s for one in drain(env, "n1").moved}
        assert took["new"] < 2 < took[vm]

    def test_signal_while_it_waits_for_the_event_leaves_nothing(self, env, vm):
        real = env.clock.sleep

        def sleep(seconds):
            real(seconds)
            if not env.cluster.moves:
                raise SignalError(15)

        env.clock.sleep = sleep
        with pytest.raises(SignalError):
            drain(env, "n1")
        assert not env.cluster.moves
        assert not env.intent_log.locked

    def test_standby_takes_one_that_would_return(self, env, make):
        make("home", preferred_host="n1", failback="return")
        real = env.nodes.standby

        def standby(node):
            real(node)
            tell(env, "home", EventKind.RESUMED)

        env.nodes.standby = standby
        assert ways(drain(env, "n1", DrainOptions(standby=True))) == [("home", "n2", MoveMethod.RESUMED)]

    def test_node_that_can_not_take_it_is_known_before_it_is_saved(self, env, vm):
        env.hypervisor.refusals = [VmMgrError(Kind.NOT_SUPPORTED, "no machine pc-x here")]
        (kept,) = drain(env, "n1").stays
        assert "pc-x" in kept.reason
        assert env.cluster.places[vm] == "n1"

    @pytest.mark.parametrize(
        ("output", "told"), [("json", '"how": "resumed"'), ("yaml", "how: resumed"), ("table", " resumed ")]
    )
    def test_output_has_the_way(self, env, vm, output, told):
        told_at_end_of_move(env, EventKind.RESUMED)
        words = ["migrate", "--all-from", "n1", "--output", output]
        done = CliRunner(mix_stderr=False).invoke(app, words, obj=env)
        assert told in done.stdout
        assert f"{vm} is on n2, resumed" in done.stderr


class TestHarm:
    def test_its_own_stop_and_start_is_what_was_asked_for(self, env, vm):
        env.cluster.harms[vm] = {vm: SideEffect.RESTARTED}
        told_at_end_of_move(env, EventKind.RESUMED)
        assert migrate(env, vm).node == "n2"
        assert "restarts" not in codes(env)

    def test_own_stop_without_a_start_is_refused(self, env, vm):
        env.cluster.harms[vm] = {vm: SideEffect.STOPPED}
        assert [one.name for one in drain(env, "n1").stays] == [vm]

    def test_one_that_is_drawn_along_would_be_restarted(self, env, make, vm):
        """It has no move of its own, so its memory would not be saved."""
        make("db1", preferred_host="n3")
        migrate(env, "db1", "n1")
        env.cluster.harms[vm] = {"db1": SideEffect.RESTARTED}
        drained = drain(env, "n1")
        assert [one.name for one in drained.stays] == [vm]
        assert "--restart-others" in drained.stays[0].hint
        assert ways(drain(env, "n1", DrainOptions(restart_others=True))) == [(vm, "n2", MoveMethod.UNKNOWN)]
        assert "restarts" in codes(env)


class TestReturn:
    def settings(self):
        return {"preferred_host": "n1", "failback": "return"}

    def test_return_of_a_recovered_vm_saves_its_memory(self, env, make):
        make("web1", **self.settings())
        env.cluster.nodes["n1"] = env.cluster.nodes["n1"]._replace(online=False)
        del env.cluster.places["web1"]
        assert status(env, "web1").node == "n2"

        def reason():
            return move_reason(env.cluster.state(), env.cluster.configured("web1"), "web1", "n2")

        assert reason() == ""
        env.cluster.stuck = {"web1"}
        env.cluster.nodes["n1"] = env.cluster.nodes["n1"]._replace(online=True)
        assert "n1" in reason()
        env.cluster.stuck.clear()
        assert status(env, "web1").node == "n1"

    @pytest.mark.parametrize("before", [None, "hibernate"])
    def test_setting_that_would_have_the_guest_stand_at_once_is_refused(self, env, make, before):
        make("web1", on_move=before, preferred_host="n1")
        migrate(env, "web1", "n3")
        for changes in ({"failback": "return"}, {"failback": "return", "on_move": "hibernate"}):
            with pytest.raises(VmMgrError) as caught:
                set_vm(env, "web1", Changes(changes))
            assert caught.value.kind is Kind.WRONG_STATE
            assert "vm-mgr migrate web1 n1" in caught.value.hint
        assert "saved" in caught.value.message
        assert status(env, "web1").node == "n3"
        migrate(env, "web1", "n1")
        set_vm(env, "web1", Changes({"failback": "return", "on_move": "hibernate"}))
        resource = env.cluster.resources["web1"]
        assert (resource.returns, resource.hibernation_s > 0) == (True, True)

    def test_vm_on_its_way_home_is_not_made_one_that_is_restarted(self, env, make):
        make("web1", **self.settings())
        env.cluster.stuck = {"web1"}
        env.cluster.places["web1"] = "n3"
        with pytest.raises(VmMgrError) as caught:
            set_vm(env, "web1", Changes({"on_move": None}))
        assert caught.value.kind is Kind.WRONG_STATE
        assert env.storage.definitions.settings("web1").on_move == "hibernate"

    def test_move_away_from_home_is_refused_since_it_would_return(self, env, make):
        make("web1", **self.settings())
        with pytest.raises(VmMgrError) as caught:
            migrate(env, "web1", "n2")
        assert caught.value.kind is Kind.WRONG_STATE

    def test_both_settings_are_kept_in_the_configuration_together(self):
        cib = cib_write.parse_cib(EMPTY)
        vm = VmResource("web1", TargetRole.STARTED, hibernation_s=90, preferred_host="n1", returns=True)
        cib_write.add_vm(cib, vm)
        found = read_configured(cib, "web1").vm
        assert (found.hibernation_s, found.returns, found.stop_timeout_s) == (90, True, vm.stop_timeout_s)


def test_constraint_of_a_drain_has_the_memory_saved():
    """With further nodes to avoid the rule has another shape."""
    cib = cib_write.parse_cib(EMPTY)
    cib_write.add_vm(cib, VmResource("web1", TargetRole.STARTED, hibernation_s=90))
    state = ClusterState(
        nodes=tuple(Node(name) for name in ("n1", "n2", "n3")),
        resources={"web1": Resource("web1", active=True, nodes=("n1",), target_role="Started")},
    )
    assert move_reason(state, read_configured(cib, "web1"), "web1", "n1") == ""
    add_move(cib, Move("web1", "n1", avoid=frozenset({"n2"})), 4e9)
    assert move_reason(state, read_configured(cib, "web1"), "web1", "n1")


def test_move_has_the_time_of_a_save_and_an_ordinary_restart():
    vm = VmResource("web1", TargetRole.STARTED, stop_timeout_s=200, start_timeout_s=300, hibernation_s=1000)
    assert longest_s(vm) > 2 * 1000 + 200 + 300
    assert longest_s(vm._replace(hibernation_s=0)) < 1000

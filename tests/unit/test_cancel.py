"""What a move must not do to others, and how one is called off."""

import pytest
from lxml import etree

from vm_mgr.adapters.dry_run.recorder import DryRunEnv
from vm_mgr.adapters.pacemaker import cib_write, moves
from vm_mgr.errors import Kind, SignalError, VmMgrError
from vm_mgr.model.vm import TargetRole, VmSettings
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.drain import DrainOptions, drain
from vm_mgr.operations.migrate import migrate
from vm_mgr.operations.migration.cancel import confirm_on_source
from vm_mgr.operations.status import status
from vm_mgr.operations.unmigrate import unmigrate
from vm_mgr.ports.cluster import Move, VmResource
from vm_mgr.reports import Note

from .conftest import DOMAIN

EMPTY = """<cib epoch="4" num_updates="7"><configuration><crm_config/><nodes/><resources/><constraints/>
</configuration></cib>"""


@pytest.fixture
def vm(env, image):
    create(env, CreateRequest("web1", DOMAIN, (image,), VmSettings(live_migration=True)))
    return "web1"


def test_move_that_begins_takes_nothing_from_one_under_way():
    cib = cib_write.parse_cib(EMPTY)
    for name in ("web1", "web2"):
        cib_write.add_vm(cib, VmResource(name, TargetRole.STARTED, live_migration=True))
    moves.add_move(cib, Move("web1", "n1", options="strategy=precopy"), 1000)
    moves.add_restart(cib, "web1", 1000)
    before = etree.tostring(cib.xpath("//primitive[@id='web1']")[0])
    moves.add_move(cib, Move("web2", "n1"), 1010)
    assert cib.xpath("//rsc_location/@rsc") == ["web1", "web2"]
    assert etree.tostring(cib.xpath("//primitive[@id='web1']")[0]) == before


@pytest.mark.parametrize("call", ["migration_problems", "dirty_rate", "migration_progress"])
def test_signal_in_a_look_at_libvirt_ends_the_move(env, vm, call):
    env.cluster.stuck.add(vm)

    def interrupted(*_args, **_more):
        raise SignalError(2)

    setattr(env.hypervisor, call, interrupted)
    with pytest.raises(SignalError):
        migrate(env, vm)
    assert not env.cluster.moves
    assert env.cluster.places[vm] == "n1"


def test_signal_while_the_scheduler_is_asked_ends_the_move(env, vm):
    def interrupted(*_args, **_more):
        raise SignalError(2)

    env.cluster.simulate_move = interrupted
    with pytest.raises(SignalError):
        migrate(env, vm)
    assert env.cluster.places[vm] == "n1"


def test_signal_while_the_claim_is_made_ends_the_command(env, vm):
    real, calls = env.intent_log.lock, []

    def lock(name):
        calls.append(name)
        if len(calls) == 1:
            raise SignalError(2)
        return real(name)

    env.intent_log.lock = lock
    with pytest.raises(SignalError):
        migrate(env, vm, "n2")


def test_move_that_is_still_under_way_is_not_turned(env, vm):
    real = env.cluster.state

    def moving():
        state = real()
        resource = state.resources[vm]._replace(pending="Migrating")
        return state._replace(resources={**state.resources, vm: resource})

    env.cluster.state = moving
    begun = []
    env.cluster.begin_move = begun.append
    with pytest.raises(VmMgrError) as caught:
        migrate(env, vm, "n3")
    assert not begun
    assert caught.value.kind is Kind.TRY_LATER


def aborts(env, vm, look):
    """Begin a move that never ends, where look makes what is seen of the state; give what was aborted."""
    cancelled = []
    env.hypervisor.abort_job = cancelled.append
    env.cluster.stuck.add(vm)
    real = env.cluster.state
    env.cluster.state = lambda: look(real())
    with pytest.raises(VmMgrError):
        migrate(env, vm, "n3")
    return cancelled


def test_move_that_can_not_be_watched_is_called_off(env, vm):
    def look(state):
        if env.cluster.moves:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "crm_mon did not end within 20 s")
        return state

    assert set(aborts(env, vm, look)) == {vm}


def test_move_that_is_too_late_is_called_off(env, vm):
    def look(state):
        pending = "Migrating" if env.cluster.moves else ""
        return state._replace(resources={vm: state.resources[vm]._replace(pending=pending)})

    assert set(aborts(env, vm, look)) == {vm}


def test_standby_stops_no_vm_that_has_nowhere_to_go(env, image):
    settings = VmSettings(live_migration=True, preferred_host="n1", failback="return")
    create(env, CreateRequest("home", DOMAIN, (image,), settings))
    for node in ("n2", "n3"):
        env.cluster.nodes[node] = env.cluster.nodes[node]._replace(standby=True)
    drained = drain(env, "n1", DrainOptions(standby=True))
    assert not env.cluster.nodes["n1"].standby
    assert [one.name for one in drained.stays] == ["home"]


def test_interrupt_before_the_job_has_begun_is_called_off_when_it_begins(env, vm):
    """The agent is not that far when Ctrl-C comes: nothing is there to be aborted yet."""
    log, real = [], env.cluster.state
    env.cluster.stuck.add(vm)
    looks = iter(["", "Migrating", "Migrating"])

    def state():
        found = real()
        pending = next(looks, "") if "ctrl-c" in log else ""
        return found._replace(resources={vm: found.resources[vm]._replace(pending=pending)})

    sleep = env.clock.sleep

    def interrupt(seconds):
        if "ctrl-c" not in log:
            log.append("ctrl-c")
            raise SignalError(2)
        sleep(seconds)

    env.cluster.state, env.clock.sleep = state, interrupt
    env.hypervisor.abort_job = lambda name: log.append("abort")
    with pytest.raises(SignalError):
        migrate(env, vm, "n2")
    assert log == ["ctrl-c", "abort", "abort", "abort"]
    assert not env.cluster.moves


class TestInterrupt:
    """What is said to have been undone is undone; what goes on keeps its constraint, which has a date."""

    @pytest.fixture(params=["hibernate", "restart"])
    def stopping(self, env, image, request):
        create(env, CreateRequest("hib", DOMAIN, (image,), VmSettings(on_move=request.param)))
        env.cluster.stuck.add("hib")
        return "hib"

    def interrupt(self, env, vm, then=lambda: None, **changes):
        """Move it to n2; at the first pause the VM is as in changes, and Ctrl-C comes."""
        real, sleep, aborted = env.cluster.state, env.clock.sleep, []
        env.hypervisor.abort_job = aborted.append

        def state():
            found = real()
            return found._replace(resources={vm: found.resources[vm]._replace(**changes)})

        def ctrl_c(_seconds):
            then()
            env.cluster.state, env.clock.sleep = state, sleep
            raise SignalError(2)

        env.clock.sleep = ctrl_c
        env.said.clear()
        with pytest.raises(SignalError) as caught:
            migrate(env, vm, "n2")
        told = [one.message for one in env.said if isinstance(one, Note) and one.code == "goes-on"]
        assert bool(told) == caught.value.message.endswith("goes on")
        return told, aborted

    def test_stop_that_has_not_begun_is_taken_back(self, env, stopping):
        assert self.interrupt(env, stopping) == ([], [])
        assert not env.cluster.moves

    @pytest.mark.parametrize("pending", ["Stopping", "Starting"])
    def test_stop_that_has_begun_goes_on_to_where_it_was_asked(self, env, stopping, pending):
        told, aborted = self.interrupt(env, stopping, pending=pending)
        assert not aborted  # saving a guest's memory is a job too
        assert f"{pending}: that can't be taken back; it will run on n2" in told[0]
        assert env.cluster.moves

    def test_stop_that_begins_when_its_constraint_has_ended_is_told(self, env, stopping):
        end = env.cluster.end_move

        def begins(name):
            end(name)
            found = env.cluster.state()
            resource = found.resources[name]._replace(pending="Stopping")
            env.cluster.state = lambda: found._replace(resources={name: resource})

        env.cluster.end_move = begins
        (told,), _ = self.interrupt(env, stopping)
        assert "where the cluster places it" in told

    def test_vm_that_has_arrived_is_told(self, env, vm):
        env.cluster.stuck.add(vm)
        told, _ = self.interrupt(env, vm, then=lambda: env.cluster.places.update({vm: "n2"}))
        assert told == ["web1 is on n2 already"]
        assert not env.cluster.moves

    def test_migration_that_can_not_be_aborted_keeps_its_constraint(self, env, vm):
        env.cluster.stuck.add(vm)
        (told,), aborted = self.interrupt(env, vm, pending="Migrating")
        assert "still on its way" in told
        assert set(aborted) == {vm}
        assert env.cluster.moves

    def test_command_ends_when_the_vm_is_as_before(self, env, vm):
        env.cluster.stuck.add(vm)
        env.cluster.failing_migrations[vm] = "migrate_to on n1: Error occurred"
        assert self.interrupt(env, vm, then=env.cluster.stuck.clear)[0] == []
        assert not env.cluster.moves
        assert not env.cluster.held
        assert status(env, vm).detail == ""

    def test_vm_that_is_held_and_can_not_be_seen_is_told(self, env, vm):
        env.cluster.stuck.add(vm)
        env.cluster.failing_migrations[vm] = "migrate_to on n1: Error occurred"

        def hangs():
            env.cluster.stuck.clear()
            env.hypervisor.hanging = True

        (told,), _ = self.interrupt(env, vm, then=hangs)
        assert "goes on looking" in told
        assert env.cluster.held

    def test_wait_for_the_reason_of_a_failure_is_taken_back_too(self, env, vm):
        env.cluster.failing_migrations[vm] = "migrate_to on n1: Error occurred"
        assert self.interrupt(env, vm)[0] == []
        assert not env.cluster.held


class TestUnmigrate:
    """A move that nobody waits for any more, or somebody elsewhere."""

    @pytest.fixture
    def moving(self, env, vm):
        """Move it from n1 to n2; once it is aborted it is held there."""
        env.cluster.stuck.add(vm)
        env.cluster.begin_move(Move(vm, "n1", "n2", lifetime_s=60))
        env.cluster.failing_migrations[vm] = "migrate_to on n1: Error occurred"
        real = env.cluster.state
        self.aborted, self.goes_on = [], False

        def state():
            found = real()
            pending = "" if self.aborted and not self.goes_on else "Migrating"
            return found._replace(resources={vm: found.resources[vm]._replace(pending=pending)})

        def abort(name):
            self.aborted.append(name)
            if not self.goes_on:
                env.cluster.stuck.clear()
                real()

        env.cluster.state, env.hypervisor.abort_job = state, abort
        env.said.clear()
        return vm

    def codes(self, env):
        return [one.code for one in env.said if isinstance(one, Note)]

    def test_move_is_called_off_and_the_vm_is_as_before(self, env, moving):
        assert [one.id for one in unmigrate(env, moving)] == [f"vm-mgr-move-{moving}"]
        seen = status(env, moving)
        assert (seen.node, seen.detail) == ("n1", "")
        assert not env.cluster.moves
        assert not env.cluster.held
        assert self.codes(env) == ["called-off"]

    def test_move_of_a_command_that_waits_is_aborted_before_that_has_ended(self, env, moving):
        lock = env.intent_log.lock

        def claimed(name):
            assert self.aborted
            return lock(name)

        env.intent_log.lock = claimed
        unmigrate(env, moving)

    def test_move_that_can_not_be_called_off_keeps_its_constraint(self, env, moving):
        self.goes_on = True
        with pytest.raises(VmMgrError) as caught:
            unmigrate(env, moving)
        assert caught.value.kind is Kind.TRY_LATER
        assert env.cluster.moves

    def test_move_out_of_a_node_that_shuts_down_goes_on(self, env, moving):
        env.cluster.nodes["n1"] = env.cluster.nodes["n1"]._replace(shutting_down=True)
        with pytest.raises(VmMgrError) as caught:
            unmigrate(env, moving)
        assert caught.value.kind is Kind.TRY_LATER
        assert not self.aborted
        assert env.cluster.moves

    def test_move_that_the_cluster_makes_by_itself_goes_on(self, env, moving):
        env.cluster.moves.clear()
        assert unmigrate(env, moving) == ()
        assert not self.aborted

    def test_dry_run_aborts_nothing(self, env, moving):
        steps = []
        assert unmigrate(DryRunEnv(env, steps.append), moving)
        assert steps[0] == f"cancel a migration of {moving} under way"
        assert not self.aborted
        assert env.cluster.moves


def test_fencing_of_a_third_node_is_waited_for_before_anything_is_called_unsure(env, vm, monkeypatch):
    lost = env.cluster.nodes["n3"]._replace(online=False, unclean=True)
    env.cluster.nodes["n3"], really, slept = lost, env.clock.sleep, []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 5:
            env.cluster.nodes["n3"] = lost._replace(unclean=False)
        really(seconds)

    monkeypatch.setattr(env.clock, "sleep", sleep)
    assert confirm_on_source(env, vm, "n1") == ""
    assert len(slept) >= 5


def test_node_that_is_never_fenced_leaves_it_unsure(env, vm):
    env.cluster.nodes["n3"] = env.cluster.nodes["n3"]._replace(online=False, unclean=True)
    assert "n3 is lost, and not yet fenced" in confirm_on_source(env, vm, "n1")

"""What a live migration may leave: one half here, one there, and never two that run."""

import subprocess
from pathlib import Path

import pytest

from vm_mgr.adapters.memory.hypervisor import MemoryHypervisor
from vm_mgr.agent import actions, departure, retry_backoff, state_files
from vm_mgr.agent import unblock as agent_unblock
from vm_mgr.agent.moving import migrate_from, migrate_to
from vm_mgr.agent.parameters import Parameters
from vm_mgr.agent.preemption import RecoveryWatch
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.event import EventKind
from vm_mgr.model.pause import PauseReason
from vm_mgr.model.storage import DiskClient
from vm_mgr.model.vm import VmSettings
from vm_mgr.ocf import unblock as lifting
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.migrate import migrate
from vm_mgr.operations.migration.blocked import release_blocked
from vm_mgr.operations.migration.unblock import Presence, presence_of, unblock
from vm_mgr.operations.pause import resume
from vm_mgr.ports.cluster import Move

from .conftest import DOMAIN
from .test_moving import LONG

VM = "web1"
DEPLOYED = Path(__file__).parents[2] / "deploy/roles/vm_mgr/files"
HALVES = ["migrating", "starting up", PauseReason.ARRIVING]


@pytest.fixture
def nodes(env, image, tmp_path):
    """Give each node a libvirt of its own, and a VM that a failed migration from n1 to n2 holds."""
    env.state_dir = tmp_path / "state"
    create(env, CreateRequest(VM, DOMAIN, (image,), VmSettings(live_migration=True)))
    env.cluster.failing_migrations[VM] = "migrate_to on n1: it was killed"
    env.cluster.begin_move(Move(VM, "n1", "n2", lifetime_s=60))
    env.cluster.state()
    nodes = {"n1": env.hypervisor, "n2": MemoryHypervisor(), "n3": MemoryHypervisor()}
    env.hypervisor_at = nodes.__getitem__
    env.looked = []
    env.cluster.reprobe = env.looked.append
    return nodes


@pytest.fixture
def there(nodes):
    nodes["n2"].running[VM] = 2000
    return nodes["n2"]


def on_ceph(env, *hosts):
    """Have the storage tell clients by address, of n1 and of these nodes."""
    found = [DiskClient(f"system_{VM}", f"198.51.100.1{number}:0/1") for number in (1, *hosts)]
    evicted = []
    env.storage.clients.of = lambda _images: [one for one in found if one not in evicted]
    env.storage.clients.evict = evicted.append
    return evicted


class TestStandingSource:
    @pytest.fixture(autouse=True)
    def stands(self, env, nodes):
        env.hypervisor.halted[VM] = "migrating"

    def test_it_goes_on_where_no_other_node_has_it(self, env, nodes):
        assert presence_of(env, VM) is Presence.RUNS
        assert not env.hypervisor.halted

    @pytest.mark.parametrize("reason", HALVES)
    def test_half_at_the_target_is_ended_first(self, env, there, reason):
        there.halted[VM] = reason
        seen = []
        there.on_call = lambda verb: seen.append((verb, dict(env.hypervisor.halted)))
        assert unblock(env, VM)
        assert not there.running
        assert not env.hypervisor.halted
        assert dict(seen)["destroy"] == {VM: "migrating"}, "the source stood until then"

    def test_half_that_does_not_end_keeps_it_standing(self, env, there):
        there.halted[VM] = PauseReason.ARRIVING
        there.destroy = lambda *_, **__: None
        assert presence_of(env, VM) is not Presence.RUNS
        assert env.hypervisor.halted[VM] == "migrating"

    def test_guest_that_runs_at_the_target_is_the_vm(self, env, there):
        assert unblock(env, VM)
        assert there.running
        assert VM not in env.hypervisor.running
        assert env.looked == [VM]

    def test_target_that_does_not_answer_keeps_it_standing(self, env, there):
        there.hanging = True
        assert not unblock(env, VM)
        assert env.hypervisor.halted[VM] == "migrating"
        assert env.cluster.held

    def test_clients_of_a_target_that_does_not_answer_are_shut_out(self, env, there):
        there.hanging = True
        evicted = on_ceph(env, 2)
        seen = []
        env.hypervisor.on_call = lambda verb: seen.append((verb, len(evicted)))
        assert unblock(env, VM)
        assert [one.host for one in evicted] == ["198.51.100.12"]
        assert dict(seen)["take_back"] == 1

    @pytest.mark.parametrize("doubt", ["of", "evict", "images"])
    def test_what_can_not_be_shut_out_keeps_it_standing(self, env, there, doubt):
        there.hanging = True
        on_ceph(env, 2)

        def refuse(*_):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "Ceph can't be reached")

        setattr(env.storage.clients, doubt, refuse)
        assert not unblock(env, VM)
        assert env.hypervisor.halted[VM] == "migrating"

    def test_lost_node_counts_only_when_it_is_fenced(self, env, there):
        there.hanging = True
        lost = env.cluster.nodes["n2"]._replace(online=False, unclean=True)
        env.cluster.nodes["n2"] = lost
        assert not unblock(env, VM)
        env.cluster.nodes["n2"] = lost._replace(unclean=False)
        assert unblock(env, VM)
        assert not env.hypervisor.halted

    def test_it_is_looked_at_soon_again_however_often_moves_have_failed(self, env, there):
        there.hanging = True
        for _ in range(6):
            retry_backoff.add(env, VM)
        assert lifting.main(env, VM) == 0
        assert min(env.timers.lifts.values()) == 5

    def test_failed_move_that_leaves_it_standing_is_looked_at_soon(self, env, there):
        env.hypervisor.failing_moves[VM] = "NOT CLEAN"
        for _ in range(6):
            retry_backoff.add(env, VM)
        with pytest.raises(VmMgrError):
            migrate_to(env, Parameters(name=VM, timeout_s=120, target_node="n2"))
        assert min(env.timers.lifts.values()) == 5

    def test_cluster_restarts_it_where_it_stands_too_long(self, env, there):
        there.hanging = True
        assert lifting.main(env, VM) == 0
        assert env.cluster.held
        assert VM not in env.cluster.restarting
        env.clock.sleep(agent_unblock.PATIENCE_S + 1)
        assert lifting.main(env, VM) == 0
        assert VM in env.cluster.restarting
        assert not state_files.path(env, "lifting", VM).exists()

    def test_half_of_another_node_than_the_target_is_ended_too(self, env, nodes):
        nodes["n3"].running[VM], nodes["n3"].halted[VM] = 3000, "migrating"
        assert unblock(env, VM)
        assert not nodes["n3"].running


class TestRunningSource:
    @pytest.mark.parametrize("reason", HALVES)
    def test_half_at_the_target_is_ended(self, env, there, reason):
        there.halted[VM] = reason
        assert unblock(env, VM)
        assert not there.running
        assert not env.cluster.held
        assert VM not in env.cluster.restarting

    def test_second_one_is_unplugged_and_told_and_the_vm_restarted(self, env, there):
        assert unblock(env, VM)
        assert not there.running
        assert VM in env.cluster.restarting
        (event,) = [one for one in env.journal.handed if one.kind is EventKind.SECOND]
        assert "n2" in event.detail

    def test_second_one_that_goes_on_is_looked_at_again(self, env, there):
        def refuse(*_, **__):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "no answer")

        there.destroy = refuse
        assert lifting.main(env, VM) == 1
        assert env.cluster.held
        assert env.timers.lifts

    def test_command_does_not_clear_the_failure_where_it_also_runs_elsewhere(self, env, nodes):
        for past in (env.cluster.held, env.cluster.failures, env.cluster.moves):
            past.clear()
        begin = env.cluster.begin_move

        def begin_move(move):
            begin(move)
            nodes["n2"].running[VM] = 2000

        env.cluster.begin_move = begin_move
        with pytest.raises(VmMgrError) as caught:
            migrate(env, VM, "n2")
        assert "n2" in caught.value.message
        assert env.cluster.held


@pytest.mark.parametrize("told", [{"pending": "Migrating"}, {"role": "Migrating"}])
def test_move_that_is_under_way_is_looked_at_again(env, nodes, told):
    """The agent was killed, and Pacemaker has not yet taken note."""
    env.cluster.held.clear()
    state = env.cluster.state()
    pending = state.resources[VM]._replace(failures=(), blocked=False, **told)
    env.cluster.state = lambda: state._replace(resources={VM: pending})
    assert not unblock(env, VM)


class TestStart:
    """Pacemaker starts what for it runs nowhere."""

    GIVEN = Parameters(name=VM, timeout_s=120)

    @pytest.mark.parametrize("reason", HALVES)
    def test_half_that_is_left_here_is_no_running_vm(self, env, nodes, reason):
        env.hypervisor.halted[VM] = reason
        boots = env.hypervisor.boots
        actions.start(env, self.GIVEN)
        assert env.hypervisor.boots == boots + 1
        assert not env.hypervisor.halted

    @pytest.mark.parametrize("reason", ["", "user"])
    def test_vm_that_runs_is_not_touched(self, env, nodes, reason):
        env.hypervisor.halted.update({VM: reason} if reason else {})
        boots = env.hypervisor.boots
        actions.start(env, self.GIVEN)
        assert env.hypervisor.boots == boots

    def test_half_on_another_node_is_ended(self, env, there):
        env.hypervisor.running.clear()
        there.halted[VM] = PauseReason.ARRIVING
        env.storage.clients.of = lambda _: (
            [DiskClient(f"system_{VM}", "198.51.100.12:0/1")] if there.running else []
        )
        actions.start(env, self.GIVEN)
        assert not there.running
        assert env.hypervisor.running

    def test_vm_that_its_user_runs_there_is_not_ended(self, env, there):
        env.hypervisor.running.clear()
        there.halted[VM] = "user"
        env.storage.clients.of = lambda _: [DiskClient(f"system_{VM}", "198.51.100.12:0/1")]
        with pytest.raises(VmMgrError) as caught:
            actions.start(env, self.GIVEN)
        assert "n2" in caught.value.message
        assert there.running


class TestStop:
    """The half at a target is stopped before its source, which may still run, is fenced."""

    @pytest.mark.parametrize("reason", HALVES)
    def test_half_is_ended_and_never_let_go_on(self, env, nodes, reason):
        env.hypervisor.halted[VM] = reason
        calls = []
        env.hypervisor.on_call = calls.append
        actions.stop(env, Parameters(name=VM, timeout_s=30))
        assert not env.hypervisor.running
        assert not {"resume", "take_back", "let_go", "shutdown"} & set(calls)

    @pytest.mark.parametrize("reason", HALVES)
    def test_half_that_is_seen_late_is_unplugged(self, env, nodes, reason):
        shutdown = env.hypervisor.shutdown

        def turns(name, *, timeout_s):
            env.hypervisor.halted[name] = reason
            shutdown(name, timeout_s=timeout_s)

        env.hypervisor.shutdown = turns
        actions.stop(env, Parameters(name=VM, timeout_s=30))
        assert not env.hypervisor.running
        assert VM not in env.hypervisor.resumed

    @pytest.mark.parametrize("reason", HALVES)
    def test_nobody_lets_it_go_on_by_hand(self, env, nodes, reason):
        env.hypervisor.halted[VM] = reason
        with pytest.raises(VmMgrError) as caught:
            resume(env, VM)
        assert caught.value.kind is Kind.WRONG_STATE
        assert env.hypervisor.halted[VM] == reason


class TestAgent:
    GIVEN = Parameters(name=VM, timeout_s=120, target_node="n2")

    def test_guest_is_let_go_on_when_its_process_here_has_ended(self, env, there):
        env.hypervisor.lets_go = False
        there.halted[VM] = PauseReason.ARRIVING
        migrate_to(env, self.GIVEN)
        assert not there.halted

    def test_process_that_stays_is_ended_first(self, env, there):
        there.halted[VM] = PauseReason.ARRIVING
        env.hypervisor.migrate = lambda *_: False
        seen = []
        there.on_call = lambda verb: seen.append((verb, dict(env.hypervisor.running)))
        migrate_to(env, self.GIVEN)
        assert env.hypervisor.ended
        assert dict(seen)["let_go"] == {}

    def test_guest_stays_standing_where_the_process_here_does_not_end(self, env, there):
        there.halted[VM] = PauseReason.ARRIVING
        env.hypervisor.migrate = lambda *_: False
        env.hypervisor.end = lambda *_, **__: None
        with pytest.raises(VmMgrError):
            migrate_to(env, self.GIVEN)
        assert there.halted[VM] == PauseReason.ARRIVING

    def test_target_lets_it_go_on_where_the_source_could_not(self, env, there):
        env.hypervisor.lets_go = False
        there.halted[VM] = PauseReason.ARRIVING
        there.hanging = True
        migrate_to(env, self.GIVEN)
        env.hypervisor = env.processes = there
        there.hanging = False
        migrate_from(env, self.GIVEN)
        assert not there.halted

    def test_half_is_not_taken_for_arrived_when_it_is_asked_again(self, env, there):
        """Nobody knows then whether the source went on before it ended."""
        env.hypervisor.running.clear()
        there.halted[VM] = PauseReason.ARRIVING
        with pytest.raises(VmMgrError):
            migrate_to(env, self.GIVEN)
        assert there.halted[VM] == PauseReason.ARRIVING

    def test_its_own_end_is_watched_and_no_longer_when_it_has_ended_well(self, env, there):
        seen = []
        env.hypervisor.on_call = lambda verb: seen.append((verb, dict(env.timers.watches)))
        migrate_to(env, self.GIVEN)
        assert dict(seen)["migrate"]
        assert not env.timers.watches


def test_who_waits_for_the_cluster_in_vain_does_not_go_on(env, nodes):
    resource = env.cluster.state().resources[VM]
    with pytest.raises(VmMgrError) as caught:
        release_blocked(env, resource)
    assert caught.value.kind is Kind.TRY_LATER


class TestGivingWay:
    @pytest.fixture
    def fails(self, env, nodes, image):
        create(env, CreateRequest("bad", DOMAIN.replace("x", "y"), (image,), VmSettings()))

        def fail(when):
            from vm_mgr.model.cluster import Failure  # noqa: PLC0415

            env.cluster.failures["bad"] = [Failure("monitor on n3: gone", when, "monitor", "n3")]

        return fail

    def test_migrations_give_way_to_the_failures_of_one_vm_once(self, env, fails):
        first = RecoveryWatch(env, VM)
        fails("one")
        assert "bad" in first.reason(LONG)
        second = RecoveryWatch(env, VM)
        fails("two")
        assert second.reason(LONG) == ""
        env.clock.sleep(601)
        third = RecoveryWatch(env, VM)
        fails("three")
        assert "bad" in third.reason(LONG)

    def test_node_that_is_lost_always_comes_first(self, env, fails):
        for number in range(2):
            way = RecoveryWatch(env, VM)
            lost = f"n{3 - number}"
            env.cluster.nodes[lost] = env.cluster.nodes[lost]._replace(online=False, unclean=True)
            assert lost in way.reason(LONG)


class TestDeparture:
    """libvirt's hook has said why the source ended; the agent was killed."""

    @pytest.fixture
    def left(self, env, there):
        """Give a VM whose source has ended for good, and which stands at its target."""
        ident = departure.begin(env, VM)
        env.hypervisor.running.clear()
        there.halted[VM], there.arrived_by[VM] = PauseReason.ARRIVING, ident
        moving = state_files.path(env, "moving", VM)
        moving.rename(moving.with_name(moving.name.replace("moving", "left")))
        return there

    def test_guest_goes_on_where_it_has_arrived(self, env, left):
        assert lifting.main(env, VM) == 0
        assert not left.halted
        assert left.running
        assert env.looked == [VM]
        assert not state_files.path(env, "left", VM).exists()

    def test_migrate_to_that_is_called_once_more_lets_it_go_on(self, env, left):
        migrate_to(env, Parameters(name=VM, timeout_s=120, target_node="n2"))
        assert not left.halted

    @pytest.mark.parametrize(
        "unproven",
        [
            lambda env, _: state_files.path(env, "left", VM).unlink(),
            lambda env, _: state_files.path(env, "left", VM).write_text(""),
            lambda env, _: state_files.path(env, "left", VM).write_text("0" * 32),
            lambda _, left: left.arrived_by.update(web1="another"),
        ],
        ids=["no word of libvirt", "an empty file", "another migration", "a half of an earlier one"],
    )
    def test_without_proof_it_is_ended_and_boots(self, env, left, unproven):
        unproven(env, left)
        assert lifting.main(env, VM) == 0
        assert not left.running
        assert env.looked == [VM]

    def test_source_that_libvirt_has_not_yet_let_go_of_is_waited_for(self, env, left):
        env.hypervisor.domain_state = lambda *_, **__: "paused"
        assert not unblock(env, VM)
        assert left.halted[VM] == PauseReason.ARRIVING

    def test_next_migration_knows_nothing_of_the_last_one(self, env, left):
        departure.begin(env, VM)
        assert departure.finish(env, VM) is None
        assert left.halted[VM] == PauseReason.ARRIVING

    def test_process_that_is_here_has_not_left(self, env, left):
        env.hypervisor.running[VM] = 1000
        assert departure.finish(env, VM) is None

    @pytest.mark.parametrize(
        ("reason", "kept"), [("migrated", True), ("crashed", False), ("destroyed", False)]
    )
    def test_hook_keeps_why_the_source_ended(self, tmp_path, reason, kept):
        hook = (DEPLOYED / "hook").read_text().replace("/run/vm-mgr", str(tmp_path))
        (tmp_path / "moving..web1").write_text("1f\n")
        done = subprocess.run(
            ["sh", "-c", hook, "hook", VM, "release", "end", reason], input="", text=True, check=False
        )
        assert done.returncode == 0
        assert (tmp_path / "left..web1").exists() == kept

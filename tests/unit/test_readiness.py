"""Commands look first whether the cluster can do what they would wait for, and refuse at once."""

from io import StringIO

import click
import pytest

from vm_mgr.cli.app import app
from vm_mgr.cli.run import perform
from vm_mgr.errors import EXIT_CODES, ConsentError, Kind, VmMgrError
from vm_mgr.model.cluster import Fencing, NodeName
from vm_mgr.model.vm import TargetRole, VmState
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.colocation import add_colocation, separate
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.create_snapshot import create_snapshot
from vm_mgr.operations.disable import disable
from vm_mgr.operations.drain import drain
from vm_mgr.operations.enable import enable
from vm_mgr.operations.list_vms import list_vms
from vm_mgr.operations.metadata import set_metadata
from vm_mgr.operations.migrate import migrate
from vm_mgr.operations.registry import OPERATIONS
from vm_mgr.operations.remove import remove
from vm_mgr.operations.restart import restart
from vm_mgr.operations.rollback import rollback
from vm_mgr.operations.set_vm import Changes, set_vm
from vm_mgr.operations.show import show
from vm_mgr.operations.start import start
from vm_mgr.operations.status import full_status, status
from vm_mgr.operations.stop import stop
from vm_mgr.operations.support.preconditions import NEEDS
from vm_mgr.ports.cluster import Cause, SideEffect, Simulation
from vm_mgr.reports import Note

from .conftest import DOMAIN

# What a refusal may take: no wait for a cluster that does nothing.
AT_ONCE_S = 1.0
FENCING_S = 25.0


@pytest.fixture
def vm(env, image):
    create(env, CreateRequest(name="web1", xml=DOMAIN, images=(image,)))
    return "web1"


def refused(env, command, *, within_s=AT_ONCE_S):
    """Give the refusal of a command that has changed nothing."""
    began, before = env.clock.monotonic(), dict(env.cluster.resources)
    with pytest.raises(VmMgrError) as caught:
        command()
    assert env.clock.monotonic() - began <= within_s
    assert env.cluster.resources == before
    assert not env.intent_log.kept
    assert caught.value.hint
    return caught.value


def maintenance(env, vm):
    env.cluster.maintenance = True
    return "maintenance-mode"


def node_maintenance(env, vm):
    node = env.cluster.places[vm]
    env.cluster.nodes[node] = env.cluster.nodes[node]._replace(maintenance=True)
    return f"--node {node} --name maintenance"


def unmanaged(env, vm):
    resource = env.cluster.resources[vm]
    env.cluster.resources[vm] = resource._replace(meta={"is-managed": "false"})
    env.cluster.unmanaged.add(vm)
    return "--delete-parameter is-managed"


def in_maintenance_itself(env, vm):
    unmanaged(env, vm)
    resource = env.cluster.resources[vm]
    env.cluster.resources[vm] = resource._replace(meta={"maintenance": "true"})
    return "--delete-parameter maintenance"


UNMANAGED = [maintenance, node_maintenance, unmanaged, in_maintenance_itself]
AT_RUNNING = {
    "stop": stop,
    "stop --force": lambda env, vm: stop(env, vm, force=True),
    "restart": restart,
    "disable": disable,
    "remove": remove,
    "migrate": migrate,
    "migrate to": lambda env, vm: migrate(env, vm, NodeName("n2")),
    "rollback": lambda env, vm: rollback(env, vm, "s1"),
}


class TestUnmanaged:
    @pytest.mark.parametrize("suspend", UNMANAGED)
    @pytest.mark.parametrize("command", AT_RUNNING)
    def test_command_at_a_running_vm_is_refused_with_the_way_out(self, env, vm, suspend, command):
        create_snapshot(env, vm, "s1")
        env.hypervisor.running[vm] = 1
        way_out = suspend(env, vm)
        error = refused(env, lambda: AT_RUNNING[command](env, vm))
        assert error.kind is Kind.WRONG_STATE
        assert "not managed" in error.message
        assert way_out in error.hint
        assert vm in env.hypervisor.running

    @pytest.mark.parametrize(
        "command",
        [
            lambda env, image: create(env, CreateRequest(name="web2", xml=DOMAIN, images=(image,))),
            lambda env, _: clone(env, CloneRequest("web1", "web2", lambda settings: settings)),
            lambda env, _: start(env, "web1"),
            lambda env, _: drain(env, NodeName("n1")),
        ],
    )
    def test_start_is_refused_before_anything_is_made(self, env, vm, image, command):
        stop(env, vm)
        maintenance(env, vm)
        error = refused(env, lambda: command(env, image))
        assert "maintenance" in error.message
        assert env.storage.definitions.names() == {vm}

    def test_enable_is_refused_but_not_without_a_start(self, env, vm):
        disable(env, vm)
        maintenance(env, vm)
        refused(env, lambda: enable(env, vm))
        assert enable(env, vm, start=False).state is VmState.STOPPED

    def test_what_needs_no_action_of_the_cluster_goes_on(self, env, vm):
        maintenance(env, vm)
        create_snapshot(env, vm, "s1")
        set_metadata(env, vm, "owner", "me")
        set_vm(env, vm, Changes({"priority": 3}))
        assert start(env, vm).state is VmState.STARTED

    def test_vm_that_does_not_run_can_be_stopped(self, env, vm):
        env.cluster.barred[vm] = ()
        env.cluster.places.pop(vm)
        maintenance(env, vm)
        assert stop(env, vm).state is VmState.STOPPED
        assert env.cluster.resources[vm].target_role is TargetRole.STOPPED

    @pytest.mark.parametrize("suspend", UNMANAGED)
    def test_looks_say_so_and_keep_the_state(self, env, vm, suspend):
        suspend(env, vm)
        (listed,) = list_vms(env)
        for seen in (status(env, vm), full_status(env, vm), show(env, vm).status, listed):
            assert seen.state is VmState.STARTED
            assert "not managed" in seen.words

    def test_forced_stop_does_not_destroy_where_maintenance_begins_meanwhile(self, env, vm):
        env.hypervisor.running[vm] = 1
        env.cluster.stuck.add(vm)
        role = env.cluster.set_target_role

        def asked(name, wanted):
            role(name, wanted)
            env.cluster.maintenance = True

        env.cluster.set_target_role = asked
        with pytest.raises(VmMgrError):
            stop(env, vm, force=True)
        assert vm in env.hypervisor.running


def test_stop_all_resources_is_named(env, vm):
    stop(env, vm)
    env.cluster.stop_all = True
    assert "stop-all-resources" in refused(env, lambda: start(env, vm)).hint
    env.cluster.resources[vm] = env.cluster.resources[vm]._replace(target_role=TargetRole.STARTED)
    assert "stop-all-resources" in status(env, vm).detail


def test_all_nodes_in_standby_refuse_a_start_and_name_the_way_out(env, vm, image):
    stop(env, vm)
    for name, node in env.cluster.nodes.items():
        env.cluster.nodes[name] = node._replace(standby=True)
    for command in (
        lambda: start(env, vm),
        lambda: create(env, CreateRequest(name="web2", xml=DOMAIN, images=(image,))),
    ):
        error = refused(env, command)
        assert error.kind is Kind.NO_RESOURCES
        assert "n2 is in standby" in error.message
        assert "crm_standby" in error.hint


class TestFencing:
    """A lost node on which no VM runs, and whose fencing hangs."""

    COMMANDS = ("stop", "restart", "disable", "remove", "migrate", "migrate to", "rollback")

    @pytest.fixture
    def lost(self, env, vm):
        create_snapshot(env, vm, "s1")
        node = next(one for one in ("n3", "n2") if env.cluster.places[vm] != one)
        env.cluster.nodes[node] = env.cluster.nodes[node]._replace(online=False, unclean=True)
        return node

    def test_list_says_so_although_no_vm_is_there(self, env, vm, lost):
        assert [one.name for one in list_vms(env)] == [vm]
        notes = [one for one in env.said if isinstance(one, Note) and one.code == "node-lost"]
        assert [one.message.partition(" is lost")[0] for one in notes] == [lost]
        assert f"stonith_admin --confirm {lost}" in notes[0].hint

    @pytest.mark.parametrize("command", COMMANDS)
    def test_fencing_that_fails_is_said_at_once(self, env, vm, lost, command):
        self.fail(env, lost)
        error = refused(env, lambda: self.run(env, vm, lost, command))
        assert error.kind is Kind.TRY_LATER
        assert f"stonith_admin --confirm {lost}" in error.hint

    @pytest.mark.parametrize("command", COMMANDS)
    def test_fencing_of_which_nothing_is_known_is_waited_for_a_short_time(self, env, vm, lost, command):
        error = refused(env, lambda: self.run(env, vm, lost, command), within_s=35)
        assert error.kind is Kind.TRY_LATER
        assert any(f"waiting until {lost} is fenced" in str(one) for one in env.said)

    def test_create_says_it_before_the_import(self, env, vm, lost, image):
        self.fail(env, lost)
        error = refused(env, lambda: create(env, CreateRequest(name="web2", xml=DOMAIN, images=(image,))))
        assert lost in error.message
        assert env.storage.definitions.names() == {vm}

    def test_fencing_that_succeeds_in_time_lets_the_command_go_on(self, env, vm, lost):
        sleep = env.clock.sleep

        def fenced(seconds):
            sleep(seconds)
            env.cluster.nodes[lost] = env.cluster.nodes[lost]._replace(unclean=False)

        env.clock.sleep = fenced
        assert stop(env, vm).state is VmState.STOPPED

    def test_failure_of_long_ago_is_none_of_this_fencing(self, env, vm, lost):
        self.fail(env, lost, ago_s=86400)
        refused(env, lambda: stop(env, vm), within_s=FENCING_S)
        assert any("is fenced" in str(one) for one in env.said)

    def test_forced_stop_powers_off_all_the_same(self, env, vm, lost):
        self.fail(env, lost)
        env.hypervisor.running[vm] = 1
        assert stop(env, vm, force=True).state is VmState.STOPPED

    @staticmethod
    def fail(env, node, ago_s=30.0):
        from datetime import UTC, datetime  # noqa: PLC0415

        when = datetime.fromtimestamp(env.clock.utc() - ago_s, UTC)
        env.cluster.fencings.append(
            Fencing(NodeName(node), succeeded=False, completed=f"{when:%Y-%m-%d %H:%M:%SZ}")
        )

    @staticmethod
    def run(env, vm, lost, command):
        if command == "migrate to":
            to = next(one for one in env.cluster.nodes if one not in (lost, env.cluster.places[vm]))
            return migrate(env, vm, NodeName(to))
        return AT_RUNNING[command](env, vm)


class TestBarred:
    CAUSE = Cause("the ticket siteA is not granted here", "crm_ticket --ticket siteA --info")

    @pytest.fixture
    def barred(self, env, vm):
        stop(env, vm)
        env.cluster.barred[vm] = (self.CAUSE,)
        return vm

    def test_start_says_why_within_seconds(self, env, barred):
        began = env.clock.monotonic()
        with pytest.raises(VmMgrError) as caught:
            start(env, barred)
        assert env.clock.monotonic() - began < 10
        assert caught.value.kind is Kind.NO_RESOURCES
        assert "siteA is not granted" in caught.value.message
        assert f"vm-mgr stop {barred}" in caught.value.hint

    def test_looks_say_why_and_do_not_call_it_starting(self, env, barred):
        env.cluster.set_target_role(barred, TargetRole.STARTED)
        (listed,) = list_vms(env)
        for seen in (full_status(env, barred), show(env, barred).status, listed):
            assert seen.state is VmState.STOPPED
            assert "siteA is not granted" in seen.words
            assert "crm_ticket" in seen.words

    def test_scheduler_that_can_not_be_asked_leaves_the_state(self, env, barred):
        def fails(_):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "crm_simulate failed")

        env.cluster.bars = fails
        env.cluster.set_target_role(barred, TargetRole.STARTED)
        assert full_status(env, barred).state is VmState.STARTING


class TestForeseen:
    @pytest.fixture
    def db(self, env, vm, image):
        create(env, CreateRequest(name="db1", xml=DOMAIN, images=(image,)))
        return "db1"

    CHANGES = (
        lambda env, **given: add_colocation(env, "web1", ["db1"], strong=True, **given),
        lambda env, **given: separate(env, "web1", ["db1"], **given),
        lambda env, **given: set_vm(env, "web1", Changes({"priority": 9}), **given),
    )

    @pytest.mark.parametrize("change", CHANGES)
    @pytest.mark.parametrize("harm", [SideEffect.RESTARTED, SideEffect.MOVED])
    def test_others_that_would_be_disturbed_are_named_and_need_consent(self, env, db, change, harm):
        env.cluster.harms["web1"] = {db: harm}
        before = env.storage.definitions.settings("web1")
        error = refused(env, lambda: change(env))
        assert isinstance(error, ConsentError)
        assert (db in error.message, "--restart-others" in error.hint) == (True, True)
        assert env.storage.definitions.settings("web1") == before
        change(env, restart_others=True)

    @pytest.mark.parametrize("change", CHANGES)
    def test_rules_after_which_a_vm_could_not_run_are_refused_with_the_rules(self, env, db, change):
        env.cluster.barred["web1"] = (Cause("web1 is kept together with db1", "vm-mgr remove-colocation"),)
        error = refused(env, lambda: change(env, restart_others=True))
        assert "web1 is kept together with db1" in error.message

    def test_vm_itself_may_be_moved_live_but_not_restarted(self, env, db):
        env.cluster.harms["web1"] = {"web1": SideEffect.RESTARTED}
        assert isinstance(refused(env, lambda: add_colocation(env, "web1", [db])), ConsentError)
        env.cluster.harms["web1"] = {"web1": SideEffect.MOVED}
        add_colocation(env, "web1", [db])

    def test_what_changes_no_placement_asks_nobody(self, env, db):
        env.cluster.simulate_change = lambda _: Simulation({db: SideEffect.STOPPED})
        set_vm(env, "web1", Changes({"user_metadata": {"a": "b"}}))

    @pytest.mark.parametrize("to", [None, "other"])
    def test_move_that_disturbs_others_needs_consent(self, env, db, to):
        set_vm(env, "web1", Changes({"live_migration": True}))
        env.cluster.harms["web1"] = {db: SideEffect.MOVED}
        node = to and next(one for one in env.cluster.nodes if one != env.cluster.places["web1"])
        error = refused(env, lambda: migrate(env, "web1", node))
        assert isinstance(error, ConsentError)
        assert migrate(env, "web1", node, restart_others=True).state is VmState.STARTED

    def test_node_where_the_cluster_would_not_run_it_is_refused_with_the_rule(self, env, db):
        env.cluster.barred["web1"] = (Cause("web1 is kept apart from db1", "vm-mgr remove-colocation"),)
        node = next(one for one in env.cluster.nodes if one != env.cluster.places["web1"])
        error = refused(env, lambda: migrate(env, "web1", node))
        assert "web1 is kept apart from db1" in error.message


def test_table_has_every_operation():
    assert set(NEEDS) == set(OPERATIONS)


class TestQuestion:
    """On a terminal the one who disturbs others is asked; a script has to say it."""

    @pytest.fixture
    def shell(self, env, vm, image, monkeypatch):
        create(env, CreateRequest(name="db1", xml=DOMAIN, images=(image,)))
        env.cluster.harms[vm] = {"db1": SideEffect.RESTARTED}

        class Terminal(StringIO):
            def isatty(self):
                return True

        def run(answer):
            monkeypatch.setattr("sys.stdin", Terminal(answer))
            with click.Context(app, obj=env, info_name="vm-mgr"):
                return perform("separate", {"name": vm, "others": ("db1",), "restart_others": False})

        return run

    @pytest.mark.parametrize("answer", ["n\n", ""])
    def test_no_changes_nothing_and_says_what_allows_it(self, env, vm, shell, answer, capsys):
        with pytest.raises(SystemExit) as ended:
            shell(answer)
        assert ended.value.code == EXIT_CODES[Kind.WRONG_STATE]
        assert "hint: allow that: --restart-others" in capsys.readouterr().err
        assert not env.storage.definitions.settings(vm).colocations

    def test_yes_goes_on(self, env, vm, shell):
        assert shell("y\n") == {"db1": "-700"}

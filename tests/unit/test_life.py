"""Start, stop, enable, disable, remove, list, migrate."""

import pytest

from vm_mgr.errors import Kind, SignalError, VmMgrError
from vm_mgr.model.cluster import Failure, Resource
from vm_mgr.model.intent import Intent
from vm_mgr.model.vm import TargetRole, VmSettings, VmState
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.create_snapshot import create_snapshot
from vm_mgr.operations.disable import disable
from vm_mgr.operations.enable import enable
from vm_mgr.operations.list_vms import list_vms
from vm_mgr.operations.migrate import migrate
from vm_mgr.operations.registry import OPERATIONS
from vm_mgr.operations.remove import remove
from vm_mgr.operations.restart import restart
from vm_mgr.operations.show import show
from vm_mgr.operations.start import start
from vm_mgr.operations.status import full_status, status
from vm_mgr.operations.stop import stop
from vm_mgr.reports import Note

from .conftest import DOMAIN


@pytest.fixture
def vm(env, image):
    create(env, CreateRequest("web1", DOMAIN, (image,), VmSettings(live_migration=True)))
    return "web1"


def refused(kind, function, *arguments):
    with pytest.raises(VmMgrError) as caught:
        function(*arguments)
    assert caught.value.kind is kind
    assert caught.value.hint


def test_vm_stops_and_starts_again(env, vm):
    assert stop(env, vm).state is VmState.STOPPED
    assert start(env, vm).state is VmState.STARTED
    assert start(env, vm).state is VmState.STARTED


def test_start_clears_failures(env, vm):
    stop(env, vm)
    env.cluster.failing[vm] = "start on n1: broken"
    assert start(env, vm).state is VmState.STARTED


def test_start_clears_failures_of_a_vm_that_runs_but_not_those_of_moves(env, vm):
    """They keep it off a node; and a node that leaves is not to be looked at anew."""
    env.cluster.nodes["n3"] = env.cluster.nodes["n3"]._replace(shutting_down=True)
    moved = Failure("migrate_from on n2: late", "3", "migrate_from", "n2")
    leaves = Failure("start on n3: broken", "2", "start", "n3")
    elsewhere = Failure("start on n2: broken", "1", "start", "n2")
    here = Failure("monitor on n1: check qmp", "4", "monitor", "n1", 60_000)
    env.cluster.failures[vm] = [elsewhere, leaves, moved, here]
    env.cluster.cleanup = None
    assert start(env, vm).state is VmState.STARTED
    assert env.cluster.failures[vm] == [leaves, moved]
    notes = [one.message for one in env.said if isinstance(one, Note) and one.code == "failure-forgotten"]
    assert notes == ["forgotten: start on n2: broken", "forgotten: monitor on n1: check qmp"]


def test_settings_survive_disable_and_enable(env, vm):
    disable(env, vm)
    assert status(env, vm).state is VmState.DISABLED
    refused(Kind.WRONG_STATE, start, env, vm)
    assert enable(env, vm).state is VmState.STARTED
    assert env.cluster.resources[vm].live_migration


def test_removed_vm_is_undefined(env, vm):
    remove(env, vm)
    assert status(env, vm).state is VmState.UNDEFINED
    assert not env.storage.vms


@pytest.mark.parametrize("verb", [start, stop, enable, disable, remove, migrate])
def test_unknown_vm_is_not_found(env, verb):
    refused(Kind.NOT_FOUND, verb, env, "nobody")


@pytest.mark.parametrize("verb", [start, stop, disable, remove, migrate])
def test_without_quorum_nothing_changes(env, vm, verb):
    env.cluster.quorate = False
    refused(Kind.TRY_LATER, verb, env, vm)


def test_without_quorum_nothing_is_called_stopped_that_may_run_elsewhere(env, vm, image):
    """The other part of the cluster may have started, enabled or moved it since."""
    create(env, CreateRequest("off", DOMAIN, (image,), enable=False))
    create(env, CreateRequest("away", DOMAIN, (image,)))
    create(env, CreateRequest("stopped", DOMAIN, (image,), start=False))
    env.cluster.places.update({"away": "n3", vm: "n2"})
    env.cluster.nodes["n3"] = env.cluster.nodes["n3"]._replace(online=False, unclean=True)
    env.cluster.quorate = False
    expected = {"away": "Unknown", "off": "Unknown", "stopped": "Unknown", vm: "Started"}
    assert {one.name: one.state.value for one in list_vms(env)} == expected
    for name, state in expected.items():
        assert full_status(env, name).state.value == state
        assert show(env, name).status.state.value == state
    assert "no quorum" in status(env, "off").detail


def test_list_joins_cluster_and_storage(env, vm, image):
    create(env, CreateRequest("app", DOMAIN, (image,), enable=False))
    env.cluster.foreign["fence"] = Resource("fence", agent="stonith:fence_ipmilan")
    assert [(seen.name, seen.state.value) for seen in list_vms(env)] == [("app", "Disabled"), (vm, "Started")]


def test_vm_moves_to_the_named_node_and_no_constraint_stays(env, vm):
    assert migrate(env, vm, "n3").node == "n3"
    assert not env.cluster.moves
    assert status(env, vm).node == "n3"


def test_vm_moves_away_without_a_name(env, vm):
    assert migrate(env, vm).node != "n1"


@pytest.mark.parametrize("change", [{"online": False}, {"observer": True}, {"standby": True}])
def test_move_to_an_unable_node_is_refused(env, vm, change):
    env.cluster.nodes["n3"] = env.cluster.nodes["n3"]._replace(**change)
    with pytest.raises(VmMgrError):
        migrate(env, vm, "n3")
    assert not env.cluster.moves


def test_move_of_a_stopped_vm_is_refused(env, vm):
    stop(env, vm)
    refused(Kind.WRONG_STATE, migrate, env, vm, "n3")


def test_move_that_fails_leaves_no_constraint(env, vm):
    env.cluster.stuck.add(vm)
    refused(Kind.EXTERNAL_FAILURE, migrate, env, vm, "n3")
    assert not env.cluster.moves


def test_interrupted_move_leaves_no_constraint(env, vm):
    env.cluster.stuck.add(vm)

    sleep = env.clock.sleep

    def interrupt(_seconds):
        env.clock.sleep = sleep
        raise SignalError(2)

    env.clock.sleep = interrupt
    with pytest.raises(SignalError):
        migrate(env, vm, "n3")
    assert not env.cluster.moves


def test_registry_loads():
    assert all(callable(operation.load()) for operation in OPERATIONS.values())


def test_stop_needs_no_storage(env, vm):
    def unreachable(*_):
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "Ceph can't be reached")

    env.intent_log.lock = env.storage.definitions.settings = unreachable
    assert stop(env, vm).state is VmState.STOPPED
    assert [report.code for report in env.said if isinstance(report, Note)] == ["not-alone"]
    with pytest.raises(VmMgrError):
        start(env, vm)


def test_what_is_done_but_stays_marked_is_told(env, vm):
    def unreachable(*_):
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "Ceph can't be reached")

    env.intent_log.erase = unreachable
    with pytest.raises(VmMgrError, match="can't be reached"):
        create_snapshot(env, vm, "done")
    told = [report for report in env.said if isinstance(report, Note)]
    assert [note.code for note in told] == ["unfinished"]
    assert "is done" in told[0].message
    assert [snapshot.name for snapshot in env.storage.snapshots.of(vm)] == ["done"]


def test_vm_whose_unfinished_operation_can_not_be_settled_can_be_stopped(env, vm):
    def in_use(*_):
        raise VmMgrError(Kind.WRONG_STATE, "its disk is in use", hint="stop it first")

    env.storage.snapshots.drop = in_use
    env.intent_log.write(vm, Intent("snapshot", "n1", 0.0, {"snapshot": "s", "pauses": ""}))
    assert stop(env, vm).state is VmState.STOPPED
    assert [report.code for report in env.said if isinstance(report, Note)] == ["unfinished"]
    assert env.intent_log.intents()
    with pytest.raises(VmMgrError):
        start(env, vm)


def lose(env, vm):
    """Lose its node, whose fencing fails."""
    node = status(env, vm).node
    env.cluster.nodes[node] = env.cluster.nodes[node]._replace(online=False, unclean=True)
    env.cluster.stuck.add(vm)
    return node


def test_stop_of_a_lost_vm_is_refused_and_nothing_is_left_that_acts_later(env, vm):
    node = lose(env, vm)
    with pytest.raises(VmMgrError) as caught:
        stop(env, vm)
    assert caught.value.kind is Kind.TRY_LATER
    assert f"stonith_admin --confirm {node}" in caught.value.hint
    assert f"vm-mgr stop {vm} --force" in caught.value.hint
    assert env.cluster.resources[vm].target_role is TargetRole.STARTED


@pytest.mark.parametrize("verb", [stop, disable, remove, restart])
def test_vm_at_which_the_cluster_is_blocked_is_not_stopped_and_the_way_out_is_told(
    env, vm, monkeypatch, verb
):
    look = env.cluster.state
    failure = Failure("stop on n1: it does not end", task="stop", node="n1")

    def blocked():
        state = look()
        one = state.resources[vm]._replace(blocked=True, failures=(failure,))
        return state._replace(resources={**state.resources, vm: one})

    monkeypatch.setattr(env.cluster, "state", blocked)
    with pytest.raises(VmMgrError) as caught:
        verb(env, vm)
    assert (caught.value.kind, caught.value.hint) == (
        Kind.WRONG_STATE,
        f"power it off: vm-mgr stop {vm} --force",
    )
    assert failure.text in caught.value.message
    assert env.cluster.resources[vm].target_role is TargetRole.STARTED


def test_forced_stop_that_fails_stays_in_force_and_is_told(env, vm):
    node = lose(env, vm)
    with pytest.raises(VmMgrError) as caught:
        stop(env, vm, force=True)
    assert caught.value.kind is Kind.TRY_LATER
    assert f"stonith_admin --confirm {node}" in caught.value.hint
    assert f"vm-mgr start {vm}" in caught.value.hint
    assert env.cluster.resources[vm].target_role is TargetRole.STOPPED


def test_restart_that_fails_is_taken_back_so_no_wish_is_told(env, vm):
    node = lose(env, vm)
    with pytest.raises(VmMgrError) as caught:
        restart(env, vm)
    assert f"stonith_admin --confirm {node}" in caught.value.hint
    assert f"vm-mgr start {vm}" not in caught.value.hint
    assert env.cluster.resources[vm].target_role is TargetRole.STARTED


def test_start_of_a_lost_vm_waits_for_fencing_and_is_refused(env, vm):
    node = lose(env, vm)
    with pytest.raises(VmMgrError) as caught:
        start(env, vm)
    assert f"stonith_admin --confirm {node}" in caught.value.hint
    assert caught.value.kind is Kind.TRY_LATER


def test_move_to_a_node_that_can_not_take_it_names_the_way_out(env, vm):
    env.cluster.nodes["n2"] = env.cluster.nodes["n2"]._replace(standby=True)
    env.cluster.nodes["n3"] = env.cluster.nodes["n3"]._replace(online=False, unclean=True)
    for node, way in {"n2": "crm_standby -N n2 -D", "n3": "stonith_admin --confirm n3"}.items():
        with pytest.raises(VmMgrError) as caught:
            migrate(env, vm, node)
        assert caught.value.kind is Kind.WRONG_STATE
        assert way in caught.value.hint


def test_vm_of_a_lost_node_waits_for_fencing_not_for_a_start(env, vm):
    node = status(env, vm).node
    env.cluster.nodes[node] = env.cluster.nodes[node]._replace(online=False, unclean=True)
    env.cluster.stuck.add(vm)
    with pytest.raises(VmMgrError) as caught:
        migrate(env, vm)
    assert caught.value.kind is Kind.WRONG_STATE
    assert "fenced" in caught.value.hint
    assert "crm_mon" in caught.value.hint
    env.cluster.stuck.clear()
    env.cluster.nodes[node] = env.cluster.nodes[node]._replace(unclean=False)
    stop(env, vm)
    with pytest.raises(VmMgrError) as caught:
        migrate(env, vm)
    assert f"vm-mgr start {vm}" in caught.value.hint


def test_clone_writes_its_consoles_into_a_file_of_its_own(env, vm):
    """libvirt's log daemon lets one domain of a node have a file open."""
    log = "<log file='/var/log/libvirt/qemu/guest.log' append='on'/>"
    text = DOMAIN.replace("<devices/>", f"<devices><serial type='pty'>{log}</serial></devices>")
    env.storage.definitions.describe(vm, {"xml": text, "_base_xml": text})
    clone(env, CloneRequest(vm, "copy1", VmSettings()))
    assert 'file="/var/log/libvirt/qemu/copy1-guest.log"' in env.storage.definitions.read("copy1")
    assert "/var/log/libvirt/qemu/guest.log" in env.storage.definitions.read(vm)


def test_clone_with_a_definition_of_its_own_keeps_its_addresses(env, vm):
    def definition(mac):
        interface = f"<devices><interface type='bridge'><mac address='{mac}'/></interface></devices>"
        return DOMAIN.replace("<devices/>", interface)

    env.storage.definitions.describe(vm, {"xml": definition("52:54:00:00:00:01")})
    request = CloneRequest(vm, "copy1", VmSettings(), xml=definition("52:54:00:00:00:02"))
    clone(env, request)
    assert "52:54:00:00:00:02" in env.storage.definitions.read("copy1")
    with pytest.raises(VmMgrError, match="belongs to"):
        clone(env, request._replace(name="copy2", xml=definition("52:54:00:00:00:01")))

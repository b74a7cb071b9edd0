"""A start knows of what is unfinished at its VM, and a refused operation leaves nothing to be carried out."""

import threading
from functools import partial

import pytest

from vm_mgr.config import DirectorySettings, StorageSettings
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.intent import HALF, Intent
from vm_mgr.model.storage import DiskClient
from vm_mgr.model.vm import TargetRole, VmSettings
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.create_snapshot import create_snapshot
from vm_mgr.operations.disable import disable
from vm_mgr.operations.enable import enable
from vm_mgr.operations.flatten import flatten
from vm_mgr.operations.lifecycle.unfinished import PATIENCE_S
from vm_mgr.operations.remove import remove
from vm_mgr.operations.remove_disk import remove_disk
from vm_mgr.operations.remove_snapshot import purge, remove_snapshot
from vm_mgr.operations.rename import rename
from vm_mgr.operations.repair import repair
from vm_mgr.operations.resize_disk import resize_disk
from vm_mgr.operations.rollback import rollback
from vm_mgr.operations.start import start

from .conftest import DOMAIN
from .test_agent import act

LIVING = DiskClient("system_web1", "198.51.100.12:0/7", "client.7", "auto 7")
LEFT = LIVING._replace(watching=False)
BOTH = {"old": "web1", "new": "web2"}


@pytest.fixture
def vm(env, tmp_path):
    """Give web1 with two disks and a snapshot, running."""
    env.state_dir = tmp_path / "state"
    with env.storage.stage("web1") as staged:
        for number in range(2):
            staged.add(1 << 20)
            staged.vm.disks[-1] = f"old {number}"
        staged.describe(xml=DOMAIN, base_xml=DOMAIN, settings=VmSettings(), notes={})
        staged.commit()
    env.storage.definitions.describe("web1", {"vm_name": "web1"})
    env.storage.snapshots.take("web1", "s", "offline")
    env.storage.vms["web1"].disks[:] = ["new 0", "new 1"]
    enable(env, "web1")
    env.cluster.state()
    return env


@pytest.fixture
def stopped(vm):
    """Give it stopped, as the agent finds it."""
    vm.cluster.set_target_role("web1", TargetRole.STOPPED)
    vm.cluster.state()
    assert not vm.hypervisor.running
    return vm


def refused(call):
    with pytest.raises(VmMgrError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    "intents",
    [
        {"web1": Intent("rollback", details={"phase": "rolling", "was": "Started", "snapshot": "s"})},
        {"web1": Intent("remove", details={"phase": "deleting", "was": ""})},
        {"web1": Intent("create", details={"phase": "committing"})},
        {"web1": Intent("rename", details=BOTH), "web2": Intent("rename", details=BOTH)},
        {"web1": Intent("unknown")},
    ],
)
def test_half_state_is_not_booted(stopped, intents):
    stopped.intent_log.kept = dict(intents)
    began = stopped.clock.now
    error = refused(partial(act, stopped, "start"))
    assert error.kind is Kind.TRY_LATER
    assert "vm-mgr repair" in error.hint
    assert not stopped.hypervisor.running
    assert stopped.clock.now - began < PATIENCE_S + 1


@pytest.mark.parametrize(
    "intent",
    [
        Intent("rollback", details={"phase": "stopping"}),
        Intent("rollback", details={"phase": "starting"}),
        Intent("remove", details={"phase": "stopping"}),
        Intent("create"),
        Intent("create", details={"phase": "enabling"}),
        Intent(
            "rename", details=BOTH
        ),  # of the other name the mark is gone: nothing was begun, or all is done
        *map(Intent, ("add-disk", "remove-disk", "set", "snapshot", "drop-snapshot", "restart", "disable")),
        Intent("colocation"),
        Intent("a verb of a newer version"),
    ],
)
def test_recovery_does_not_wait_for_what_leaves_the_vm_whole(stopped, intent):
    stopped.intent_log.kept = {"web1": intent, "db1": Intent("rollback", details={"phase": "rolling"})}
    began = stopped.clock.now
    act(stopped, "start")
    assert stopped.hypervisor.running
    assert stopped.clock.now == began


def test_command_that_is_about_to_end_is_waited_for(stopped):
    stopped.intent_log.kept = {"web1": Intent("rollback", details={"phase": "rolling"})}
    sleep = stopped.clock.sleep
    until = stopped.clock.now + 3

    def passing(seconds):
        sleep(seconds)
        if stopped.clock.now > until:
            stopped.intent_log.kept.clear()

    stopped.clock.sleep = passing
    act(stopped, "start")
    assert stopped.hypervisor.running


def test_rollback_that_begins_while_a_start_waits_for_the_disks_is_seen(stopped):
    holders, until = stopped.storage.clients.of, stopped.clock.now + 8

    def waiting(images):
        if stopped.clock.now < until:
            return [LIVING]
        stopped.intent_log.kept["web1"] = Intent("rollback", details={"phase": "rolling"})
        return holders(images)

    stopped.storage.clients.of = waiting
    assert refused(partial(act, stopped, "start", timeout_s=60)).kind is Kind.TRY_LATER
    assert not stopped.hypervisor.running


def unreachable():
    raise VmMgrError(Kind.EXTERNAL_FAILURE, "Ceph does not answer")


def test_start_without_the_ledger_of_its_own_storage_fails(stopped):
    stopped.intent_log.intents = unreachable
    assert refused(partial(act, stopped, "start")).kind is Kind.EXTERNAL_FAILURE


@pytest.mark.parametrize("outage", ["refused", "hangs"])
@pytest.mark.parametrize("half", [False, True])
def test_outage_of_a_foreign_ledger_keeps_no_whole_vm_down(stopped, monkeypatch, outage, half):
    """The ledger is in Ceph, the VM in a directory, which knows of a rollback by itself."""
    monkeypatch.setattr("vm_mgr.operations.lifecycle.unfinished.LEDGER_S", 0.02)
    monkeypatch.setattr("vm_mgr.operations.lifecycle.unfinished.PATIENCE_S", 0.5)
    stopped.storage_settings = StorageSettings(directories={"vms": DirectorySettings("/srv/vms")})
    stopped.storages.labels = lambda: ["ceph", "vms"]
    stopped.storages.get = lambda label: stopped.storage
    stopped.storages.label_of = lambda name: "vms"
    stopped.intent_log.intents = unreachable if outage == "refused" else lambda: threading.Event().wait(1)
    stopped.storage.definitions.describe("web1", {HALF: "s" if half else None})
    if half:
        assert refused(partial(act, stopped, "start")).kind is Kind.TRY_LATER
    else:
        act(stopped, "start")
    assert bool(stopped.hypervisor.running) is not half


def test_start_by_somebody_else_is_not_taken_for_the_end_of_a_rollback(vm):
    """`crm resource start` while the disks are half taken back: the rollback is finished nevertheless."""
    vm.storage.failing = "snapshots.roll_back half"
    refused(partial(rollback, vm, "web1", "s"))
    assert vm.storage.vms["web1"].disks == ["old 0", "new 1"]
    assert vm.intent_log.kept["web1"].details["phase"] == "rolling"
    vm.cluster.stuck = {"web1"}
    vm.cluster.set_target_role("web1", TargetRole.STARTED)
    assert refused(partial(act, vm, "start")).kind is Kind.TRY_LATER
    vm.storage.failing, vm.cluster.stuck = "", set()
    vm.storage.running = ()
    state = vm.cluster.state
    vm.cluster.state = lambda: state()._replace(
        resources={
            **state().resources,
            "web1": state().resources["web1"]._replace(active=False, role="Stopped", failed=True, nodes=()),
        }
    )
    cleared = []
    vm.cluster.cleanup = cleared.append
    repair(vm)
    assert vm.storage.vms["web1"].disks == ["old 0", "old 1"]
    assert not vm.intent_log.kept
    assert cleared == ["web1"]  # the starts that were refused keep it from no node
    assert vm.cluster.resources["web1"].target_role is TargetRole.STARTED


def test_rollback_lets_the_vm_run_in_a_phase_in_which_it_may_start(vm):
    seen = []
    ask = vm.cluster.set_target_role

    def asked(name, role):
        seen.append((role, vm.intent_log.kept["web1"].details["phase"]))
        ask(name, role)

    vm.cluster.set_target_role = asked
    rollback(vm, "web1", "s")
    assert seen == [(TargetRole.STOPPED, "stopping"), (TargetRole.STARTED, "starting")]


CHANGES = {
    "rollback": lambda env: rollback(env, "web1", "s"),
    "remove": lambda env: remove(env, "web1"),
    "rename": lambda env: rename(env, "web1", "web2"),
    "remove disk": lambda env: remove_disk(env, "web1", 1),
}


@pytest.mark.parametrize("verb", CHANGES)
@pytest.mark.parametrize("started", [True, False])
def test_refused_operation_is_not_carried_out_later(vm, verb, started):
    """Somebody has the disks of a VM that the cluster has stopped: nothing is changed, now or later."""
    if verb in ("rename", "remove disk") or not started:
        disable(vm, "web1")
    if verb == "remove disk":
        for taken in list(vm.storage.vms["web1"].snapshots):
            vm.storage.snapshots.drop("web1", taken)
    vm.storage.held = [LIVING._replace(image="data_web1_0")]
    error = refused(partial(CHANGES[verb], vm))
    assert error.kind is Kind.WRONG_STATE
    assert "n2" in error.message
    assert not vm.intent_log.kept
    assert not vm.storage.evicted
    vm.storage.held = []
    assert repair(vm) == []
    assert vm.storage.vms["web1"].disks == ["new 0", "new 1"]
    if "web1" in vm.cluster.resources:
        assert vm.cluster.resources["web1"].target_role is TargetRole.STARTED


@pytest.mark.parametrize("kind", [Kind.WRONG_STATE, Kind.NOT_FOUND, Kind.NOT_SUPPORTED])
def test_rollback_that_the_storage_refuses_leaves_no_mark(vm, kind):
    def roll_back(name, snapshot):
        raise VmMgrError(kind, "no")

    vm.storage.snapshots.roll_back = roll_back
    assert refused(partial(rollback, vm, "web1", "s")).kind is kind
    assert not vm.intent_log.kept
    assert vm.cluster.resources["web1"].target_role is TargetRole.STARTED


def test_rollback_is_refused_where_the_vm_was_started_meanwhile(vm):
    write = vm.intent_log.write

    def written(name, intent):
        write(name, intent)
        if intent.details.get("phase") == "rolling":
            vm.cluster.set_target_role("web1", TargetRole.STARTED)
            vm.cluster.state()

    vm.intent_log.write = written
    assert refused(partial(rollback, vm, "web1", "s")).kind is Kind.WRONG_STATE
    assert not vm.intent_log.kept
    assert vm.storage.vms["web1"].disks == ["new 0", "new 1"]


def refuses(kind):
    def verb(*_arguments, **_named):
        raise VmMgrError(kind, "no")

    return verb


@pytest.mark.parametrize("kind", [Kind.EXISTS, Kind.WRONG_STATE])
def test_renaming_that_the_storage_refuses_leaves_no_mark(vm, kind):
    disable(vm, "web1")
    vm.storage.rename = refuses(kind)
    assert refused(partial(rename, vm, "web1", "web2")).kind is kind
    assert not vm.intent_log.kept


def test_snapshot_that_may_not_be_removed_is_not_removed_later(vm):
    vm.storage.snapshots.drop = refuses(Kind.WRONG_STATE)
    refused(partial(remove_snapshot, vm, "web1", "s"))
    refused(partial(purge, vm, "web1"))
    assert not vm.intent_log.kept


def test_snapshot_of_another_tool_survives_a_refused_one_of_the_same_name(vm):
    dropped = []
    vm.storage.snapshots.take, vm.storage.snapshots.drop = (
        refuses(Kind.EXISTS),
        lambda *a: dropped.append(a),
    )
    assert refused(partial(create_snapshot, vm, "web1", "theirs")).kind is Kind.EXISTS
    assert not dropped
    assert not vm.intent_log.kept
    assert not vm.hypervisor.halted


def test_failure_on_the_way_still_stays_to_be_finished(vm):
    vm.storage.failing = "snapshots.roll_back half"
    refused(partial(rollback, vm, "web1", "s"))
    assert vm.intent_log.kept["web1"].verb == "rollback"


OPERATIONS = {
    **CHANGES,
    "snapshot": lambda env: create_snapshot(env, "web1", "t"),
    "remove snapshot": lambda env: remove_snapshot(env, "web1", "s"),
    "resize": lambda env: resize_disk(env, "web1", 2 << 20),
    "flatten": lambda env: flatten(env, "web1"),
    "clone": lambda env: clone(env, CloneRequest("web1", "new1", VmSettings(), start=False)),
    "start": lambda env: start(env, "web1"),
}


@pytest.mark.parametrize("verb", OPERATIONS)
def test_lock_that_a_dead_client_has_left_hinders_no_operation(stopped, verb):
    """As after a site-wide power cut, or a rollback that was killed inside of librbd."""
    if verb in ("rename", "remove disk"):
        disable(stopped, "web1")
    if verb == "remove disk":
        for taken in list(stopped.storage.vms["web1"].snapshots):
            stopped.storage.snapshots.drop("web1", taken)
    stopped.storage.vms["web1"].parents[1] = "system_db1"
    left = LEFT._replace(image="data_web1_0")
    stopped.storage.held = [left]
    OPERATIONS[verb](stopped)
    assert not stopped.intent_log.kept
    if verb != "start":  # the cluster in memory calls no agent
        assert stopped.storage.evicted == [left]


@pytest.mark.parametrize("next_command", ["repair", "rollback", "start"])
def test_rollback_that_was_killed_inside_the_storage_is_settled_by_the_next_command(vm, next_command):
    """librbd's lock stays, and for up to 30 s its watch."""
    vm.storage.failing = "snapshots.roll_back half"
    refused(partial(rollback, vm, "web1", "s"))
    vm.storage.failing = ""
    ends, holders = vm.clock.now + 25, vm.storage.clients.of
    mine = LIVING._replace(address="198.51.100.11:0/7")
    vm.storage.held = [mine._replace(watching=False)]
    vm.storage.clients.of = lambda images: [mine] if vm.clock.now < ends else holders(images)
    commands = {"repair": repair, "rollback": lambda env: rollback(env, "web1", "s")}
    commands.get(next_command, lambda env: start(env, "web1"))(vm)
    assert vm.storage.vms["web1"].disks == ["old 0", "old 1"]
    assert vm.storage.evicted == [mine._replace(watching=False)]
    assert not vm.intent_log.kept
    assert vm.cluster.state().resources["web1"].active


def test_creation_is_shown_to_the_cluster_in_a_phase_in_which_it_may_start(env, image):
    seen, add = [], env.cluster.add

    def added(resource):
        seen.append(env.intent_log.kept["new1"].details["phase"])
        add(resource)

    env.cluster.add = added
    create(env, CreateRequest(name="new1", xml=DOMAIN, images=(image,)))
    assert seen == ["enabling"]

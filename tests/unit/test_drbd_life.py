"""The life of a VM whose disks are on DRBD, by the commands' own operations."""

import pytest

from tests.contract.conftest import MemoryCib
from tests.contract.drbd_world import World
from vm_mgr.adapters.dry_run.recorder import DryRunEnv
from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.adapters.pacemaker.cib_storage_records import CibStorageRecords
from vm_mgr.adapters.storage_set.storages import StorageEntry, StorageSet
from vm_mgr.errors import VmMgrError
from vm_mgr.model.resource import Role, disk_id
from vm_mgr.model.vm import VmSettings, VmState
from vm_mgr.operations.add_disk import NewDisk, add_disk
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.create_snapshot import create_snapshot
from vm_mgr.operations.disable import disable
from vm_mgr.operations.enable import enable
from vm_mgr.operations.list_vms import list_vms
from vm_mgr.operations.remove import remove
from vm_mgr.operations.rename import rename
from vm_mgr.operations.resize_disk import resize_disk
from vm_mgr.operations.rollback import rollback
from vm_mgr.operations.show import show
from vm_mgr.operations.start import start
from vm_mgr.operations.stop import stop

from .conftest import DOMAIN

DISK = disk_id("web1", "drbd")


@pytest.fixture
def env(env, tmp_path):
    env.world = World(tmp_path, CibStorageRecords(MemoryCib(), "drbd"), VirtualClock())
    env.storage = env.world.storage
    env.storages = StorageSet({"drbd": StorageEntry(lambda: env.storage)})
    return env


@pytest.fixture
def vm(env, image):
    create(env, CreateRequest(name="web1", xml=DOMAIN, images=(image,)))
    return "web1"


def test_vm_runs_beside_its_promoted_disk(env, vm):
    state = env.cluster.state()
    (node,) = state.resources[vm].nodes
    assert state.clones[DISK][node] == "Promoted"
    assert "/var/lib/vm-mgr/drbd/system_web1" in env.storage.definitions.read(vm)
    assert "type='block'" in env.storage.definitions.read(vm).replace('"', "'")
    assert env.cluster.resources[vm].depends_on[0].role is Role.PROMOTED


def test_vm_stops_starts_leaves_the_cluster_and_comes_back(env, vm):
    assert stop(env, vm).state is VmState.STOPPED
    assert start(env, vm).state is VmState.STARTED
    disable(env, vm)
    assert DISK not in env.cluster.state().clones
    assert [(one.name, one.state) for one in list_vms(env)] == [(vm, VmState.DISABLED)]
    enable(env, vm)
    assert DISK in env.cluster.state().clones


def test_vm_is_shown_with_its_disks(env, vm):
    shown = show(env, vm)
    assert [disk.image for disk in shown.disks] == ["system_web1"]


def test_lost_side_is_warned_of(env, vm):
    env.world.take(vm)
    env.world.linked = False
    said = []
    env.say = said.append
    show(env, vm)
    assert "peer-lost" in {getattr(one, "code", "") for one in said}


def test_removed_vm_leaves_nothing(env, vm):
    remove(env, vm)
    assert env.storage.pool.records.read() == ({}, {})
    assert all(not node.lvs for node in env.world.nodes.values())
    assert DISK not in env.cluster.state().clones


def test_renamed_vm_has_its_disk_under_the_new_name(env, vm):
    stop(env, vm)
    rename(env, vm, "db1")
    assert set(env.cluster.state().clones) == {disk_id("db1", "drbd")}
    assert "/var/lib/vm-mgr/drbd/system_db1" in env.storage.definitions.read("db1")
    assert start(env, "db1").state is VmState.STARTED


def test_snapshot_rollback_clone_and_resize(env, vm, image):
    del image
    create_snapshot(env, vm, "before")
    clone(env, CloneRequest(vm, "copy", VmSettings()))
    assert env.storage.definitions.names() == {vm, "copy"}
    resize_disk(env, vm, 1 << 24)
    assert rollback(env, vm, "before").state is VmState.STARTED
    assert env.storage.disks.of(vm)[0].size_bytes < 1 << 24


def test_running_vm_gets_a_disk(env, vm):
    assert add_disk(env, vm, NewDisk(size_bytes=1 << 20)).image == "data_web1_0"
    assert "/var/lib/vm-mgr/drbd/data_web1_0" in env.storage.definitions.read(vm)


def test_dry_run_changes_nothing(env, image):
    steps = []
    create(DryRunEnv(env, steps.append), CreateRequest(name="web1", xml=DOMAIN, images=(image,)))
    assert any("ocf:linbit:drbd" in step or DISK in step for step in steps), steps
    assert env.storage.pool.records.read() == ({}, {})


def test_creation_from_a_node_without_disks_says_where_it_works(env, image):
    env.world.here = "n3"
    with pytest.raises(VmMgrError) as caught:
        create(env, CreateRequest(name="web1", xml=DOMAIN, images=(image,)))
    assert caught.value.hint == "run the command on one of: n1, n2"

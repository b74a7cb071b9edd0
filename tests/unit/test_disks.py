"""Disks that come and go, and clones that become independent."""

import pytest

from vm_mgr.adapters.memory.hypervisor import MemoryHypervisor
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations.add_disk import NewDisk, add_disk
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.create_snapshot import create_snapshot
from vm_mgr.operations.disable import disable
from vm_mgr.operations.flatten import flatten
from vm_mgr.operations.remove import remove
from vm_mgr.operations.remove_disk import remove_disk
from vm_mgr.operations.remove_snapshot import remove_snapshot
from vm_mgr.operations.rollback import rollback
from vm_mgr.operations.stop import stop

from .conftest import DOMAIN

SIZE = 1 << 20


@pytest.fixture
def vm(env, image):
    create(env, CreateRequest("web1", DOMAIN, (image,)))
    return "web1"


def refused(function, *arguments):
    with pytest.raises(VmMgrError) as caught:
        function(*arguments)
    assert all(problem.hint for problem in (caught.value, *caught.value.others))
    return caught.value


def sources(env, name="web1"):
    return env.definitions.sources(env.storage.definitions.read(name))


def test_running_guest_has_the_new_disk_at_once(env, vm, image):
    assert add_disk(env, vm, NewDisk(SIZE)).image == "data_web1_0"
    assert add_disk(env, vm, NewDisk(image=image, bus="scsi")).image == "data_web1_1"
    assert sources(env) == ["rbd/system_web1", "rbd/data_web1_0", "rbd/data_web1_1"]
    assert env.hypervisor.plugged[vm] == ["rbd/data_web1_0", "rbd/data_web1_1"]
    assert env.storage.vms[vm].disks[1:] == ["", image]
    assert 'dev="sda" bus="scsi"' in env.storage.definitions.read(vm)


@pytest.mark.parametrize("bring", [stop, disable])
def test_vm_that_does_not_run_gets_the_disk_with_its_next_start(env, vm, bring):
    bring(env, vm)
    add_disk(env, vm, NewDisk(SIZE))
    assert sources(env)[1:] == ["rbd/data_web1_0"]
    assert not env.hypervisor.plugged


def test_bus_is_the_one_of_the_vm(env, image):
    create(env, CreateRequest("web1", DOMAIN, (image,), VmSettings(disk_bus="scsi")))
    add_disk(env, "web1", NewDisk(SIZE))
    assert 'dev="sdb" bus="scsi"' in env.storage.definitions.read("web1")


def test_disk_that_the_guest_cannot_get_is_taken_back(env, vm):
    before = env.storage.definitions.read(vm)
    env.hypervisor.no_free_slot = True
    assert refused_without_hint(add_disk, env, vm, NewDisk(SIZE)).kind is Kind.EXTERNAL_FAILURE
    assert env.storage.clients.images(vm) == ["system_web1"]
    assert sources(env) == env.definitions.sources(before)
    assert not env.intent_log.intents()


def refused_without_hint(function, *arguments):
    with pytest.raises(VmMgrError) as caught:
        function(*arguments)
    return caught.value


class SlowHypervisor(MemoryHypervisor):
    """It does what it is asked for, and the answer is lost."""

    def attach(self, name, device):
        super().attach(name, device)
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "libvirt did not answer")


def test_disk_that_the_guest_has_got_after_all_stays(env, vm):
    running = env.hypervisor.running
    env.hypervisor = SlowHypervisor()
    env.hypervisor.running.update(running)
    refused_without_hint(add_disk, env, vm, NewDisk(SIZE))
    assert not env.intent_log.intents()
    assert env.storage.clients.images(vm) == ["system_web1", "data_web1_0"]
    assert sources(env)[1:] == env.hypervisor.plugged[vm] == ["rbd/data_web1_0"]
    assert "kept" in [getattr(report, "code", "") for report in env.said]


@pytest.mark.parametrize("step", ["disks.make", "definitions.describe"])
def test_failure_leaves_no_disk_or_a_mark(env, vm, step):
    env.storage.failing = step
    refused_without_hint(add_disk, env, vm, NewDisk(SIZE))
    env.storage.failing = ""
    assert bool(env.intent_log.intents()) is (step == "definitions.describe")
    assert not env.storage.made
    add_disk(env, vm, NewDisk(SIZE))
    assert len(env.storage.clients.images(vm)) == (3 if step == "definitions.describe" else 2)
    assert len(sources(env)) == len(env.storage.clients.images(vm))


@pytest.mark.parametrize(
    ("new", "kind"),
    [
        (NewDisk(), Kind.INVALID),
        (NewDisk(4096), Kind.INVALID),
        (NewDisk(SIZE, "/some.qcow2"), Kind.INVALID),
        (NewDisk(SIZE, bus="floppy"), Kind.INVALID),
        (NewDisk(SIZE, bus="sata"), Kind.WRONG_STATE),
    ],
)
def test_disk_that_makes_no_sense_is_refused(env, vm, new, kind):
    assert refused(add_disk, env, vm, new).kind is kind
    assert env.storage.clients.images(vm) == ["system_web1"]


def test_vm_on_its_way_is_left_alone(env, image):
    env.cluster.stuck.add("web1")
    refused_without_hint(create, env, CreateRequest("web1", DOMAIN, (image,)))
    assert refused(add_disk, env, "web1", NewDisk(SIZE)).kind is Kind.TRY_LATER
    assert refused(remove_disk, env, "web1", 1).kind is Kind.TRY_LATER


def test_last_disk_goes_from_guest_definition_and_storage(env, vm):
    add_disk(env, vm, NewDisk(SIZE))
    add_disk(env, vm, NewDisk(SIZE))
    assert refused(remove_disk, env, vm, 1).kind is Kind.WRONG_STATE
    assert remove_disk(env, vm, 2) == "data_web1_1"
    assert remove_disk(env, vm, 1) == "data_web1_0"
    assert env.hypervisor.plugged[vm] == []
    assert sources(env) == ["rbd/system_web1"]
    assert refused(remove_disk, env, vm, 1).kind is Kind.NOT_FOUND
    assert refused(remove_disk, env, vm, 0).kind is Kind.INVALID


def test_guest_that_does_not_let_go_keeps_its_disk(env, vm):
    add_disk(env, vm, NewDisk(SIZE))
    before = env.storage.definitions.read(vm)
    env.hypervisor.keeps_disks = True
    assert refused(remove_disk, env, vm, 1).kind is Kind.WRONG_STATE
    assert env.storage.definitions.read(vm) == before
    assert env.storage.clients.images(vm) == ["system_web1", "data_web1_0"]
    assert not env.intent_log.intents()
    env.hypervisor.keeps_disks = False
    remove_disk(env, vm, 1)


def test_disk_of_a_snapshot_stays_and_a_rollback_leaves_newer_ones(env, vm):
    create_snapshot(env, vm, "before")
    add_disk(env, vm, NewDisk(SIZE))
    create_snapshot(env, vm, "after")
    env.storage.vms[vm].disks[1] = "written later"
    rollback(env, vm, "before")
    assert env.storage.vms[vm].disks[1] == "written later"
    problem = refused(remove_disk, env, vm, 1)
    assert "after" in problem.message
    assert "before" not in problem.message
    remove_snapshot(env, vm, "after")
    remove_disk(env, vm, 1)


def test_clone_keeps_its_source_until_it_is_flattened(env, vm):
    add_disk(env, vm, NewDisk(SIZE))
    clone(env, CloneRequest(vm, "copy1", VmSettings()))
    for verb, *more in ((remove,), (remove_disk, 1)):
        problem = refused(verb, env, vm, *more)
        assert problem.kind is Kind.WRONG_STATE
        assert problem.hint.endswith("vm-mgr flatten copy1")
    assert flatten(env, "copy1", 0) == ["system_copy1"]
    assert flatten(env, "copy1") == ["data_copy1_0"]
    assert flatten(env, "copy1") == []
    assert refused(flatten, env, "copy1", 2).kind is Kind.NOT_FOUND
    remove_disk(env, vm, 1)
    remove(env, vm)


def test_clone_has_all_disks(env, vm):
    add_disk(env, vm, NewDisk(SIZE))
    clone(env, CloneRequest(vm, "copy1", VmSettings()))
    assert sources(env, "copy1") == ["rbd/system_copy1", "rbd/data_copy1_0"]

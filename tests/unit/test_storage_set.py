"""Two storages in one cluster: each VM is in one of them, and what is done to it is done there."""

import pytest

from vm_mgr.adapters.host.clock import SystemClock
from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.memory.env import MemoryEnv
from vm_mgr.adapters.memory.storage import MemoryStorage
from vm_mgr.adapters.shared_dir.folders import VmFolders
from vm_mgr.adapters.shared_dir.mount import Mount
from vm_mgr.adapters.shared_dir.port import SharedDirectory
from vm_mgr.adapters.storage_set.port import RoutedStorage
from vm_mgr.adapters.storage_set.storages import StorageEntry, StorageSet
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.resource import Dependency
from vm_mgr.model.storage import DiskClient, DiskSource, Identified, disk_image
from vm_mgr.model.vm import VmSettings, VmState
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.create_snapshot import create_snapshot
from vm_mgr.operations.list_vms import list_vms, look
from vm_mgr.operations.remove import remove
from vm_mgr.operations.rename import rename
from vm_mgr.operations.repair import repair
from vm_mgr.operations.stop import stop

from .conftest import DOMAIN


@pytest.fixture
def two():
    return {"ceph": MemoryStorage(), "vms": MemoryStorage()}


@pytest.fixture
def env(two):
    built = MemoryEnv(DomainXml())
    places = {"ceph": StorageEntry(lambda: two["ceph"]), "vms": StorageEntry(lambda: two["vms"], "vms-clone")}
    built.storages = StorageSet(places)
    built.storage = RoutedStorage(built.storages)
    return built


def make(env, image, name, storage="", **more):
    return create(env, CreateRequest(name=name, xml=DOMAIN, images=(image,), storage=storage, **more))


def kind_of(function, *arguments):
    with pytest.raises(VmMgrError) as caught:
        function(*arguments)
    return caught.value.kind


def test_vm_is_made_where_it_was_asked_for(env, two, image):
    make(env, image, "web1")
    make(env, image, "db1", "vms")
    assert (set(two["ceph"].vms), set(two["vms"].vms)) == ({"web1"}, {"db1"})
    assert [(vm.name, vm.state) for vm in list_vms(env)] == [
        ("db1", VmState.STARTED),
        ("web1", VmState.STARTED),
    ]
    assert kind_of(make, env, image, "web2", "none") is Kind.NOT_FOUND


def test_resource_tells_the_storage_and_needs_its_mount(env, image):
    make(env, image, "web1")
    make(env, image, "db1", "vms")
    resources = env.cluster.resources
    assert (resources["web1"].params["storage"], resources["web1"].depends_on) == ("ceph", ())
    assert (resources["db1"].params["storage"], resources["db1"].depends_on) == (
        "vms",
        (Dependency("vms-clone"),),
    )


def test_life_of_a_vm_stays_in_its_storage(env, two, image):
    make(env, image, "db1", "vms")
    create_snapshot(env, "db1", "one")
    clone(env, CloneRequest("db1", "db2", VmSettings()))
    stop(env, "db1")
    rename(env, "db1", "db3")
    assert set(two["vms"].vms) == {"db2", "db3"}
    remove(env, "db2")
    remove(env, "db3")
    assert not two["vms"].vms
    assert not two["ceph"].vms


def test_name_is_free_in_no_storage_or_in_none(env, image):
    make(env, image, "web1")
    assert kind_of(make, env, image, "web1", "vms") is Kind.EXISTS
    with pytest.raises(VmMgrError) as caught:
        make(env, image, "web1", "vms", force=True)
    assert caught.value.kind is Kind.WRONG_STATE
    assert "remove" in caught.value.hint


def test_vm_is_found_while_the_other_storage_is_gone(env, two, image):
    make(env, image, "db1", "vms")
    two["ceph"].failing = "definitions.names"
    assert env.storage.definitions.read("db1")
    assert kind_of(env.storage.definitions.exists, "web1") is Kind.EXTERNAL_FAILURE


def test_killed_creation_is_settled_in_its_storage(env, two, image):
    two["vms"].failing = "commit"
    with pytest.raises(VmMgrError):
        make(env, image, "db1", "vms")
    assert repair(env) == []
    assert not two["vms"].vms


def test_list_shows_what_it_can_and_says_what_it_can_not(env, two, image):
    make(env, image, "web1")
    make(env, image, "db1", "vms")
    two["vms"].failing = "definitions.names"
    found = look(env)
    assert [vm.name for vm in found.vms] == ["db1", "web1"]
    assert [error.kind for error in found.missing] == [Kind.EXTERNAL_FAILURE]
    assert kind_of(list_vms, env) is Kind.EXTERNAL_FAILURE


def test_client_is_shut_out_where_it_is_one(env, two, image):
    """Its image does not tell the storage: the names of images are the same in each."""
    make(env, image, "db1", "vms")
    client = DiskClient("system_db1", "198.51.100.12:0/7")
    two["vms"].held = [client]
    assert env.storage.clients.of(["system_db1"]) == [client]
    env.storage.clients.evict(client)
    assert env.storage.clients.of(["system_db1"]) == []
    assert client in two["vms"].evicted


def test_images_are_told_by_their_sources(env, image, tmp_path):
    folders = VmFolders(Mount(tmp_path), None, SystemClock())
    built = StorageSet(
        {"ceph": StorageEntry(MemoryStorage), "vms": StorageEntry(lambda: SharedDirectory(folders))}
    )
    for number in (0, 1):
        for label in ("ceph", "vms"):
            source = built.get(label).disks.locate("web_1", number, None).source
            assert built.get(label).clients.image_of(source) == disk_image("web_1", number)
            assert RoutedStorage(built).clients.image_of(source) == disk_image("web_1", number)
    foreign = (
        "other/system_web1",
        f"{tmp_path}/web1/iso.qcow2",
        f"{tmp_path}/x/web1/system.qcow2",
        "/dev/sda",
        "",
    )
    for source in (*foreign, f"{tmp_path}/../system.qcow2", f"{tmp_path}/.vm-mgr/system.qcow2"):
        assert RoutedStorage(built).clients.image_of(source) == ""


def test_only_a_storage_whose_disks_the_hook_guards_is_asked_for_them(env, two):
    sources = [DiskSource(protocol="rbd", name="rbd/system_web1")]
    guarding = StorageEntry(pytest.fail, identify=lambda asked: Identified((asked[0].name,)))
    built = StorageSet({"ceph": guarding, "vms": StorageEntry(pytest.fail)})
    assert built.identified("ceph", sources).images == ("rbd/system_web1",)
    assert built.identified("vms", sources) == Identified()

"""What the Ceph adapter asks of librbd for single disks, on a librbd of dictionaries."""

import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from vm_mgr.adapters.ceph import port
from vm_mgr.adapters.ceph.pool import Pool
from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.errors import Kind, SignalError, VmMgrError

from .ceph_objects import RADOS, Objects


class NotFound(Exception):  # noqa: N818 - as librbd calls it
    pass


class Fake:
    """Images with metadata, and groups; as much of rbd's Python binding as is used here."""

    RBD_SNAP_NAMESPACE_TYPE_USER, RBD_SNAP_NAMESPACE_TYPE_GROUP, RBD_SNAP_NAMESPACE_TYPE_TRASH = 0, 1, 2
    RBD_FEATURE_DEEP_FLATTEN = 32
    Error = ImageNotFound = ObjectNotFound = NotFound
    ImageBusy = ImageHasSnapshots = type("Busy", (Exception,), {})

    def __init__(self):
        self.images = {}
        self.groups = {"web1": []}

    def RBD(self):  # noqa: N802
        return SimpleNamespace(
            list=lambda _: list(self.images),
            create=lambda _, name, size: self.add(name, size=size),
            rename=lambda _, name, new: self.rename(name, new),
            remove=lambda _, name, on_progress=None: self.remove(name),
            group_list=lambda _: list(self.groups),
            group_remove=lambda _, name: self.groups.pop(name),
        )

    def remove(self, name):
        if name not in self.images:
            raise NotFound(name)
        del self.images[name]

    def add(self, name, **more):
        self.images[name] = {"meta": {}, "snaps": [], "children": [], "features": 61, "parent": "", **more}

    def rename(self, name, new):
        assert new not in self.images
        self.images[new] = self.images.pop(name)

    def Group(self, _ioctx, name):  # noqa: N802
        members = self.groups[name]
        return SimpleNamespace(
            list_snaps=list,
            list_images=lambda: [{"name": member} for member in members],
            add_image=lambda _, image: members.append(image),
            remove_image=lambda _, image: members.remove(image),
        )

    @contextmanager
    def Image(self, _ioctx, name, *, read_only=False):  # noqa: N802
        if name not in self.images:
            raise NotFound(name)
        yield Image(self.images[name])


def as_text(given):
    return given.decode() if isinstance(given, bytes) else given


class Image:
    def __init__(self, kept):
        self.kept = kept

    def metadata_get(self, key):
        return self.kept["meta"][key]

    def metadata_set(self, key, value):
        self.kept["meta"][as_text(key)] = as_text(value)

    def metadata_remove(self, key):
        del self.kept["meta"][as_text(key)]

    def list_snaps(self):
        return self.kept["snaps"]

    def list_children2(self):
        return self.kept["children"]

    def remove_snap_by_id(self, ident):
        self.kept["snaps"] = [one for one in self.kept["snaps"] if one["id"] != ident]

    def features(self):
        return self.kept["features"]

    def parent_info(self):
        if not self.kept["parent"]:
            raise NotFound
        return ("rbd", self.kept["parent"], "now")

    def flatten(self, on_progress):
        for done in range(self.kept["objects"]):
            if on_progress(done, self.kept["objects"]) < 0:
                raise NotFound("cancelled")
        self.kept["parent"] = ""


@pytest.fixture
def rbd():
    fake = Fake()
    fake.add("system_web1")
    fake.groups["web1"].append("system_web1")
    return fake


@pytest.fixture
def storage(rbd, monkeypatch):
    monkeypatch.setitem(sys.modules, "rados", RADOS)

    class Images(Pool):
        @contextmanager
        def working(self, doing):
            yield rbd, None

    objects = Objects(lambda name: raw(rbd.images[name]["meta"]))
    connection = SimpleNamespace(pool="rbd", user="u", conf="c", ioctx=objects)
    return port.CephStorage(Images(connection, None, VirtualClock()))


def raw(meta):
    return {as_bytes(key): as_bytes(value) for key, value in meta.items()}


def as_bytes(text):
    return text if isinstance(text, bytes) else text.encode()


def kind_of(function, *arguments):
    with pytest.raises(VmMgrError) as caught:
        function(*arguments)
    assert caught.value.hint
    return caught.value.kind


def test_new_disk_is_ours_to_delete_until_it_is_in_the_group(storage, rbd):
    assert storage.disks.next_number("web1") == 1
    storage.disks.make("web1", 1, 1 << 20, None, None)
    assert rbd.images["vm-mgr-new_1_web1"]["meta"] == {"_vm_mgr_unfinished": "remove"}
    rbd.rename("vm-mgr-new_1_web1", "data_web1_0")  # killed here, and then the VM is removed
    assert storage.remove("web1")
    assert not rbd.images
    assert not rbd.groups


def test_disk_comes_and_goes_with_its_count(storage, rbd):
    for number in (1, 2):
        storage.disks.make("web1", number, 1 << 20, None, None)
        for _ in range(2):
            storage.disks.place("web1", number)
        assert rbd.images["system_web1"]["meta"] == {"_additional_disks": str(number)}
    assert storage.clients.images("web1") == ["system_web1", "data_web1_0", "data_web1_1"]
    assert not rbd.images["data_web1_1"]["meta"]
    for number in (2, 2, 1):
        storage.disks.drop("web1", number)
    assert rbd.images.keys() == {"system_web1"}
    assert rbd.groups["web1"] == ["system_web1"]
    assert not rbd.images["system_web1"]["meta"]


def test_foreign_images_are_neither_counted_nor_deleted(storage, rbd):
    rbd.add("data_web1_0")
    assert kind_of(storage.disks.next_number, "web1") is Kind.EXISTS
    storage.disks.drop("web1", 1)
    assert "data_web1_0" in rbd.images
    rbd.groups["web1"] += ["data_web1_0", "mine"]
    assert kind_of(storage.disks.next_number, "web1") is Kind.WRONG_STATE
    assert kind_of(storage.disks.ties, "web1", 2) is Kind.NOT_FOUND


def test_ties_are_snapshots_and_clones_but_not_hidden_ones(storage, rbd):
    snaps = [{"id": n, "name": name, "namespace": n} for n, name in enumerate(("old", "group", "trash"))]
    children = [{"image": "system_web2", "trash": False}, {"image": "gone", "trash": True}]
    rbd.images["system_web1"] |= {"snaps": snaps, "children": children}
    assert storage.disks.ties("web1", 0) == (("old", "group"), ("system_web2",))


def test_flatten_shows_progress_and_can_be_repeated(storage, rbd):
    rbd.images["system_web1"] |= {"parent": "system_db1", "objects": 4}
    seen = []
    storage.clones.flatten("web1", "system_web1", seen.append)
    assert seen[-1] == 0.75
    storage.clones.flatten("web1", "system_web1", seen.append)
    rbd.images["system_web1"] |= {"parent": "system_db1", "features": 1, "snaps": [{"id": 1, "name": "a"}]}
    assert kind_of(storage.clones.flatten, "web1", "system_web1", seen.append) is Kind.WRONG_STATE


def test_interrupted_flatten_is_cancelled(storage, rbd):
    rbd.images["system_web1"] |= {"parent": "system_db1", "objects": 1 << 62}

    def interrupt(_fraction):
        raise SignalError(2)

    with pytest.raises(SignalError):
        storage.clones.flatten("web1", "system_web1", interrupt)
    assert rbd.images["system_web1"]["parent"] == "system_db1"

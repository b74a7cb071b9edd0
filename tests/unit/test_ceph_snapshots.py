"""What a refusal, and a failure on the way, of a rollback in Ceph leave and say."""

import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from vm_mgr.adapters.ceph import snapshots
from vm_mgr.adapters.ceph.connection import translated
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import DiskClient

LEFT = DiskClient("data_web1_0", "198.51.100.12:0/7", "client.7", "auto 7", watching=False)


class Error(Exception):
    """Any error of librbd."""


class ImageBusyError(Error):
    """Somebody has it."""


class ImageHasSnapshotsError(Error):
    """Clones depend on it."""


class Rbd:
    """Two images with a snapshot; failing names (verb, image) pairs, each with its error."""

    Error, ImageBusy, ImageHasSnapshots = Error, ImageBusyError, ImageHasSnapshotsError

    def __init__(self):
        self.done = []
        self.failing = {}
        self.open = set()
        self.protected = set()

    @contextmanager
    def Image(self, _ioctx, name):  # noqa: N802
        self.open.add(name)

        def call(verb):
            def act(*_):
                if (verb, name) in self.failing:
                    raise self.failing[verb, name]
                self.done.append((verb, name, len(self.open)))

            return act

        verbs = ("rollback_to_snap", "remove_snap", "unprotect_snap")
        yield SimpleNamespace(
            list_snaps=lambda: [{"name": "s"}],
            is_protected_snap=lambda _: name in self.protected,
            **{verb: call(verb) for verb in verbs},
        )
        self.open.discard(name)


@pytest.fixture
def storage(monkeypatch):
    rbd = Rbd()
    monkeypatch.setitem(sys.modules, "rbd", rbd)
    monkeypatch.setitem(sys.modules, "rados", SimpleNamespace(Error=Error))
    monkeypatch.setattr(snapshots, "copy_key", lambda *_: None)
    monkeypatch.setattr(snapshots, "drop_key", lambda *_: None)
    held = []
    monkeypatch.setattr(snapshots.CephClients, "of", lambda _self, _images: list(held))

    @contextmanager
    def working(doing):
        with translated(doing):
            yield rbd, None

    return SimpleNamespace(
        rbd=rbd,
        held=held,
        images=lambda _: ["system_web1", "data_web1_0"],
        working=working,
        describe=lambda *_: None,
    )


def kind_of(call):
    with pytest.raises(VmMgrError) as caught:
        call()
    return caught.value.kind


def test_all_images_are_open_as_long_as_one_is_taken_back(storage):
    """So that no start finds one of them unwatched in between."""
    snapshots.CephSnapshots(storage).roll_back("web1", "s")
    assert storage.rbd.done == [
        ("rollback_to_snap", "system_web1", 2),
        ("rollback_to_snap", "data_web1_0", 2),
    ]


def test_watcher_refuses_before_anything_is_touched_and_a_lock_alone_does_not(storage):
    storage.held.append(LEFT._replace(watching=True))
    assert kind_of(lambda: snapshots.CephSnapshots(storage).roll_back("web1", "s")) is Kind.WRONG_STATE
    assert not storage.rbd.done
    storage.held[:] = [LEFT]
    snapshots.CephSnapshots(storage).roll_back("web1", "s")
    assert len(storage.rbd.done) == 2


@pytest.mark.parametrize("image", ["system_web1", "data_web1_0"])
@pytest.mark.parametrize("verb", ["rollback_to_snap", "remove_snap"])
def test_failure_on_the_way_is_no_refusal(storage, verb, image):
    storage.rbd.failing[verb, image] = ImageBusyError()
    part = snapshots.CephSnapshots(storage)
    call = part.roll_back if verb == "rollback_to_snap" else part.drop
    assert kind_of(lambda: call("web1", "s")) is Kind.EXTERNAL_FAILURE


def test_snapshot_that_a_clone_needs_is_refused_before_any_disk_loses_it(storage):
    storage.rbd.protected = {"system_web1", "data_web1_0"}
    storage.rbd.failing["unprotect_snap", "data_web1_0"] = ImageBusyError()
    assert kind_of(lambda: snapshots.CephSnapshots(storage).drop("web1", "s")) is Kind.WRONG_STATE
    assert not [verb for verb, *_ in storage.rbd.done if verb == "remove_snap"]

"""Saved memory in Ceph, on a librbd of dictionaries, and in a shared directory: killed at every change."""

import json
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from vm_mgr.adapters.ceph import images, port
from vm_mgr.adapters.ceph.pool import Pool
from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.saved_state import SavedState
from vm_mgr.model.storage import Consistency

from .test_shared_dir import Fate, Killed, make, opened, world


@pytest.fixture(autouse=True)
def without_nvram(monkeypatch):
    """Have images of which nothing else is kept beside them."""
    monkeypatch.setattr(images, "image_id", lambda *_: "")


STATE = SavedState(uuid="u", node="n1", saved_utc=7.0)
MEMORY = bytes(range(256)) * 16_400  # two pieces, the last one short


class NotFound(Exception):  # noqa: N818 - as librbd calls it
    pass


class Exists(Exception):  # noqa: N818
    pass


class Fake:
    """Images with content; every change is one that the world may end at."""

    RBD_SNAP_NAMESPACE_TYPE_USER, RBD_SNAP_NAMESPACE_TYPE_TRASH = 0, 2
    ImageNotFound = ObjectNotFound = NotFound
    ImageExists = Exists
    ImageBusy = type("Busy", (Exception,), {})

    def __init__(self):
        self.fate = Fate()
        self.images = {"system_web1": {"meta": {}, "data": bytearray(8), "id": "1", "written": "noon"}}
        self.corrupt = False

    def RBD(self):  # noqa: N802
        return SimpleNamespace(
            list=lambda _: list(self.images),
            create=lambda _, name, size: self.fate.meet(self.add, name, size),
            rename=lambda _, name, new: self.fate.meet(self.rename, name, new),
            remove=lambda _, name, on_progress=None: self.fate.meet(self.remove, name),
        )

    def add(self, name, size):
        if name in self.images:
            raise Exists(name)
        self.images[name] = {"meta": {}, "data": bytearray(size), "id": str(len(self.images)), "written": ""}

    def rename(self, name, new):
        if name not in self.images:
            raise NotFound(name)
        if new in self.images:
            raise Exists(new)
        self.images[new] = self.images.pop(name)

    def remove(self, name):
        if name not in self.images:
            raise NotFound(name)
        del self.images[name]

    def Group(self, _ioctx, _name):  # noqa: N802
        return SimpleNamespace(list_images=lambda: [{"name": "system_web1"}], list_snaps=list)

    @contextmanager
    def Image(self, _ioctx, name, *, read_only=False):  # noqa: N802
        if name not in self.images:
            raise NotFound(name)
        kept = self.images[name]

        def write(data, offset):
            kept["data"][offset : offset + len(data)] = data

        yield SimpleNamespace(
            metadata_get=lambda key: kept["meta"][key],
            metadata_set=lambda key, value: self.fate.meet(kept["meta"].__setitem__, key, value),
            write=lambda data, offset: self.fate.meet(write, data, offset),
            read=lambda offset, length: bytes(kept["data"][offset : offset + length]),
            flush=lambda: self.fate.meet(lambda: None),
            list_snaps=list,
            id=lambda: kept["id"],
            size=lambda: len(kept["data"]),
            modify_timestamp=lambda: kept["written"],
        )


def pools(room):
    answer = json.dumps({"pools": [{"name": "rbd", "stats": {"max_avail": room}}]})
    return SimpleNamespace(mon_command=lambda *_: (0, answer.encode(), ""))


def ceph(rbd, folder, room=1 << 40):
    class Images(Pool):
        @contextmanager
        def working(self, doing):
            yield rbd, None

    connection = SimpleNamespace(pool="rbd", user="u", conf="c", cluster=pools(room))
    return port.CephStorage(Images(connection, None, VirtualClock(), spool=folder / "spool"))


class InCeph:
    def __init__(self, folder):
        folder.mkdir()
        self.rbd, self.folder = Fake(), folder
        self.storage = ceph(self.rbd, folder)

    def again(self, fate):
        """Give the storage as a new process has it."""
        self.rbd.fate = fate
        return self.storage


class InDirectory:
    def __init__(self, folder):
        folder.mkdir()
        self.root = folder / "vms"
        world(self.root)
        self.storage = opened(self.root)

    def again(self, fate):
        return opened(self.root, fate)


def save(storage):
    Path(storage.saved_memory.prepare("web1", len(MEMORY))).write_bytes(MEMORY)
    storage.saved_memory.commit("web1", storage.saved_memory.store("web1", STATE, lambda _fraction: None))


def resume(storage):
    state = storage.saved_memory.of("web1")
    storage.saved_memory.consume("web1")
    assert Path(storage.saved_memory.load("web1", state, lambda _fraction: None)).read_bytes() == MEMORY


@pytest.mark.parametrize("place", [InCeph, InDirectory])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("before", "verb"),
    [
        ([], save),
        ([save], save),
        ([save, resume], save),
        ([save], resume),
        ([save], lambda storage: storage.saved_memory.delete("web1")),
        ([save, resume], lambda storage: storage.saved_memory.delete("web1")),
    ],
)
def test_killed_verb_leaves_memory_that_is_whole_and_unused_or_none(tmp_path, place, after, before, verb):
    kills = 0
    for calls in range(60):
        kept = place(tmp_path / f"{calls}")
        for step in before:
            step(kept.storage)
        died = False
        try:
            verb(kept.again(Fate(calls, after=after)))
        except Killed:
            died, kills = True, kills + 1
        storage = kept.again(Fate())
        state = storage.saved_memory.of("web1")
        if resume in before and verb is not save:
            assert state is None or not state.resumable, "it was resumed before"
        if state is not None and state.resumable:
            resume(storage)
            with pytest.raises(VmMgrError):
                storage.saved_memory.consume("web1")
        elif state is not None:
            with pytest.raises(VmMgrError):
                storage.saved_memory.consume("web1")
        storage.saved_memory.delete("web1")
        assert storage.saved_memory.of("web1") is None
        save(storage)
        resume(storage)
        if not died:
            break
    assert not died
    assert kills > 0


@pytest.mark.parametrize("left", ["saved", "both"])
def test_rename_that_was_cut_short_is_not_resumed_again(tmp_path, left):
    """librbd makes the new name before it removes the old one."""
    kept = InCeph(tmp_path / "pool")
    save(kept.storage)
    images = kept.rbd.images
    if left == "both":
        images["vm-mgr-resumed_web1"] = images["vm-mgr-saved_web1"]
        assert not kept.storage.saved_memory.of("web1").resumable
        with pytest.raises(VmMgrError) as caught:
            kept.storage.saved_memory.consume("web1")
        assert caught.value.kind is Kind.WRONG_STATE
    kept.storage.saved_memory.delete("web1")
    assert sorted(images) == ["system_web1"]


@pytest.mark.parametrize("change", [{"written": "later"}, {"id": "7"}, {"data": bytearray(9)}])
def test_disk_that_was_written_or_replaced_is_noticed_in_ceph(tmp_path, change):
    kept = InCeph(tmp_path / "pool")
    before = kept.storage.saved_memory.disk_fingerprint("web1")
    kept.rbd.images["system_web1"] |= change
    assert kept.storage.saved_memory.disk_fingerprint("web1") != before


def test_disk_that_was_written_or_replaced_is_noticed_in_a_directory(tmp_path):
    kept = InDirectory(tmp_path / "d")
    before = kept.storage.saved_memory.disk_fingerprint("web1")
    disk = kept.root / "web1" / "system.qcow2"
    disk.write_text(disk.read_text() + " ")
    assert kept.storage.saved_memory.disk_fingerprint("web1") != before
    make(kept.storage, "web1", "other")
    assert kept.storage.saved_memory.disk_fingerprint("web1") != before


def test_record_that_somebody_broke_fits_nothing(tmp_path):
    kept = InDirectory(tmp_path / "d")
    save(kept.storage)
    (kept.root / "web1" / "saved.json").write_text("{")
    state = kept.storage.saved_memory.of("web1")
    assert (state.uuid, state.digest) == ("", "")


def test_memory_that_somebody_cut_is_refused(tmp_path):
    kept = InDirectory(tmp_path / "d")
    save(kept.storage)
    state = kept.storage.saved_memory.of("web1")
    memory = kept.root / "web1" / "memory"
    memory.write_bytes(MEMORY[:-1])
    kept.storage.saved_memory.consume("web1")
    with pytest.raises(VmMgrError):
        kept.storage.saved_memory.load("web1", state, lambda _fraction: None)
    memory.unlink()
    with pytest.raises(VmMgrError):
        kept.storage.saved_memory.load("web1", state, lambda _fraction: None)


def test_pool_without_room_is_refused_before_anything_is_written(tmp_path):
    kept = InCeph(tmp_path / "pool")
    with pytest.raises(VmMgrError) as caught:
        ceph(kept.rbd, kept.folder, room=1000).saved_memory.prepare("web1", 1001)
    assert caught.value.kind is Kind.NO_RESOURCES
    assert sorted(kept.rbd.images) == ["system_web1"]


def test_memory_is_readable_to_root_alone(tmp_path):
    kept = InCeph(tmp_path / "pool")
    save(kept.storage)
    kept.storage.saved_memory.consume("web1")
    path = Path(
        kept.storage.saved_memory.load("web1", kept.storage.saved_memory.of("web1"), lambda _fraction: None)
    )
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    with suppress(FileNotFoundError):
        path.unlink()


@pytest.mark.parametrize("left", ["used", "unfinished"])
def test_rename_leaves_nothing_of_the_old_name(tmp_path, left):
    kept = InCeph(tmp_path / "pool")
    storage, plain = kept.storage, kept.rbd.RBD
    if left == "used":
        save(storage)
        storage.saved_memory.consume("web1")
    else:
        Path(storage.saved_memory.prepare("web1", 10)).write_bytes(b"x" * 10)
        storage.saved_memory.store("web1", STATE, lambda _fraction: None)
    kept.rbd.RBD = lambda: SimpleNamespace(**vars(plain()), group_list=lambda _: [])
    storage.rename("web1", "web2")
    assert sorted(kept.rbd.images) == ["system_web2"]


def test_snapshot_in_a_directory_is_refused_while_memory_waits(tmp_path):
    """It would change the files, and the guest would boot."""
    kept = InDirectory(tmp_path / "d")
    save(kept.storage)
    with pytest.raises(VmMgrError) as caught:
        kept.storage.snapshots.take("web1", "s", Consistency.CRASH)
    assert caught.value.kind is Kind.WRONG_STATE
    state = kept.storage.saved_memory.of("web1")
    assert state.disk_fingerprint == kept.storage.saved_memory.disk_fingerprint("web1")

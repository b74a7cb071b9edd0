"""A call of librbd that takes long: it is told, a signal is heard, and nothing is undone beside it."""

import os
import signal
import threading
import time

import pytest

from vm_mgr.adapters.ceph import images, patience, staging
from vm_mgr.adapters.ceph.patience import Patience
from vm_mgr.errors import Kind, SignalError, VmMgrError
from vm_mgr.interruption import current
from vm_mgr.model.storage import DiskClient

from .test_ceph_disks import rbd, storage  # noqa: F401 - fixtures


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(patience, "POLL_S", 0.01)
    monkeypatch.setattr(patience, "TELL_S", 0.03)
    current.begin()
    yield
    current.begin()


@pytest.fixture
def signalled():
    """Send SIGINT in a moment, with the handler of a command."""

    def handler(number, _frame):
        signal.signal(signal.SIGINT, lambda *_: setattr(current, "impatient", True))
        raise SignalError(number)

    def after(seconds):
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()

    before = signal.signal(signal.SIGINT, handler)
    yield after
    signal.signal(signal.SIGINT, before)


class TestCall:
    def test_gives_what_it_gives_and_raises_what_it_raises(self):
        calls = Patience()
        assert calls.call(lambda: 7, "can't count") == 7
        with pytest.raises(KeyError):
            calls.call(lambda: {}["x"], "can't look")

    def test_that_takes_long_is_told_in_words_that_are_no_error(self):
        said = []
        Patience(said.append).call(lambda: time.sleep(0.1), "can't remove the disk x", fraction=lambda: 0.5)
        assert {(one.step, one.fraction) for one in said} == {("waiting for Ceph to remove the disk x", 0.5)}

    def test_that_is_short_is_not(self):
        said = []
        Patience(said.append).call(lambda: None, "can't remove the disk x")
        assert not said

    def test_signal_is_heard_once_the_call_has_ended(self, signalled):
        calls, ended = Patience(), threading.Event()
        signalled(0.02)
        with pytest.raises(SignalError) as caught:
            calls.call(lambda: (time.sleep(0.15), ended.set()), "can't write")
        assert ended.is_set()
        assert not caught.value.hanging
        assert calls.call(lambda: 7, "can't undo") == 7

    def test_signal_leaves_a_call_that_does_not_end(self, signalled):
        calls, end = Patience(), threading.Event()
        signalled(0.02)
        began = time.monotonic()
        with pytest.raises(SignalError) as caught:
            calls.call(end.wait, "can't delete", end_s=0.05)
        assert time.monotonic() - began < 5
        assert caught.value.hanging
        with pytest.raises(VmMgrError) as refused:
            calls.call(lambda: 7, "can't undo")
        assert refused.value.kind is Kind.TRY_LATER
        end.set()

    def test_second_signal_ends_the_wait_for_the_undoing(self, signalled):
        calls, end = Patience(), threading.Event()
        current.impatient = True
        with pytest.raises(VmMgrError) as caught:
            calls.call(end.wait, "can't delete")
        assert caught.value.kind is Kind.TRY_LATER
        end.set()


def test_binding_is_the_same_through_threads(rbd):  # noqa: F811
    seen = []
    rbd.remove = lambda _name: seen.append(threading.current_thread())
    patient = Patience().module(rbd, "can't look")
    assert patient.RBD().list(None) == ["system_web1"]
    assert patient.ImageNotFound is rbd.ImageNotFound
    with patient.Image(None, "system_web1") as image:
        image.metadata_set("a", "b")
        assert image.metadata_get("a") == "b"
    with pytest.raises(rbd.ImageNotFound), patient.Image(None, "none"):
        pass
    patient.RBD().remove(None, "x")
    assert seen != [threading.main_thread()]


def test_removal_shows_how_far_it_is_and_hears_a_signal(storage, rbd, signalled, monkeypatch):  # noqa: F811
    monkeypatch.setattr(images, "DELETE_END_S", 0.05)
    said, end = [], threading.Event()
    storage.pool.patience.say = said.append

    def long(_, _name, on_progress):
        on_progress(1, 4)
        end.wait(20)

    made = rbd.RBD()
    made.remove = long
    rbd.RBD = lambda: made
    signalled(0.3)
    with pytest.raises(SignalError) as caught:
        images.remove_image(storage.pool, "system_web1")
    assert caught.value.hanging
    assert 0.25 in {one.fraction for one in said}
    end.set()


def test_wait_for_a_dead_client_is_told_and_ends_at_a_second_signal(storage, rbd):  # noqa: F811
    said = []
    storage.pool.patience.say = said.append

    def busy(*_, **_more):
        raise rbd.ImageBusy

    made = rbd.RBD()
    made.remove = busy
    rbd.RBD = lambda: made
    with pytest.raises(rbd.ImageBusy):
        images.remove_image(storage.pool, "system_web1")
    assert {one.step for one in said} == {"waiting until Ceph forgets the client that had system_web1 open"}
    current.impatient = True
    with pytest.raises(VmMgrError) as caught:
        images.remove_image(storage.pool, "system_web1")
    assert caught.value.kind is Kind.TRY_LATER


class TestEndedCopy:
    """qemu-img that was ended leaves a watch, which would keep its image for 30 s."""

    @pytest.fixture
    def copying(self, storage, monkeypatch):  # noqa: F811
        evicted = []
        storage.pool.connection.cluster = type("Cluster", (), {"get_addrs": lambda _: "v1:192.0.2.1:0/7"})()
        ours, other = DiskClient("new", "192.0.2.1:0/99"), DiskClient("new", "192.0.2.11:0/99")
        monkeypatch.setattr(staging.CephClients, "of", lambda _self, _images: [ours, other])
        monkeypatch.setattr(staging.CephClients, "evict", lambda _self, client: evicted.append(client))

        def copy(run):
            storage.pool.runner = type("Runner", (), {"run": run})()
            staging.run_copy(storage.pool, (*staging.commands.TIED, "qemu-img"), None, "a.qcow2", into="new")

        return copy, evicted, ours

    def test_has_its_client_shut_out_and_no_other(self, copying):
        copy, evicted, ours = copying

        def interrupted(*_, **_more):
            raise SignalError(2)

        with pytest.raises(SignalError):
            copy(interrupted)
        assert evicted == [ours]

    def test_that_fails_by_itself_names_the_file(self, copying):
        copy, evicted, _ = copying
        done = type("Done", (), {"exit_code": 1, "stderr": "L2 table is corrupt", "stdout": ""})()
        with pytest.raises(VmMgrError, match=r"a\.qcow2 can't be read whole: qemu-img failed") as caught:
            copy(lambda *_, **_more: done)
        assert "qemu-img check a.qcow2" in caught.value.hint
        assert not evicted

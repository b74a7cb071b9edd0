"""A save that is disturbed: where its memory would not fit any more the guest boots; it never stands long."""

import threading
import time

import pytest

from vm_mgr.agent import hibernation
from vm_mgr.model.event import EventKind
from vm_mgr.model.intent import Intent

from .test_hibernation import XML, World

DISK = "<disk type='network'><source protocol='rbd' name='rbd/system_web1'/><target dev='vda'/></disk>"
OTHER = "<disk type='block'><source dev='/dev/vg/shared'/><target dev='vdb'/></disk>"


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.mark.parametrize("goes_on", ["before the copy", "during the copy"])
def test_guest_that_somebody_lets_go_on_while_it_is_saved_boots(world, goes_on):
    hypervisor, storage, keep = world.nodes["n1"].hypervisor, world.storage, world.storage.saved_memory.store

    def write():
        hypervisor.resume("web1")
        storage.vms["web1"].disks[0] = "written after the memory was"

    def store_state(name, state, on_progress):
        if goes_on == "before the copy":
            write()
            return keep(name, state, on_progress)
        return keep(name, state, lambda _fraction: write())

    storage.saved_memory.store = store_state
    world.stop("n1")
    assert EventKind.NOT_SAVED in world.told("n1")
    world.start("n2")
    assert world.history[-1] == ("boot", 101)


def test_disks_written_during_the_copy_make_the_memory_worthless(world):
    """Even where the guest stands again."""
    storage, keep = world.storage, world.storage.saved_memory.store

    def store_state(name, state, on_progress):
        def write(_fraction):
            storage.vms["web1"].disks[0] = "written after the memory was"

        return keep(name, state, write)

    storage.saved_memory.store = store_state
    world.stop("n1")
    world.start("n2")
    assert world.history[-1] == ("boot", 101)


def test_guest_that_a_snapshot_holds_is_not_saved(world):
    intent = Intent("snapshot", "n1", 0.0, {"snapshot": "s", "pauses": "yes"})
    world.nodes["n1"].intent_log.write("web1", intent)
    world.nodes["n1"].hypervisor.pause("web1")
    world.stop("n1")
    assert EventKind.NOT_SAVED in world.told("n1")
    world.start("n2")
    assert world.runs("n2") is not None


def test_storage_that_hangs_while_memory_is_copied_does_not_hold_the_guest(world, monkeypatch):
    monkeypatch.setattr(hibernation, "CALL_S", 0.2)
    hypervisor, hangs = world.nodes["n1"].hypervisor, threading.Event()
    hypervisor.xmls["web1"] = XML.replace("'MiB'>512", "'MiB'>1")
    began, drop, pause = time.monotonic(), world.storage.saved_memory.delete, hypervisor.pause

    def pause_and_hang(name):
        pause(name)
        world.storage.saved_memory.delete = lambda _name: hangs.wait(20)

    world.storage.saved_memory.store = lambda *_: hangs.wait(20)
    monkeypatch.setattr(hypervisor, "pause", pause_and_hang)
    world.stop("n1", timeout_s=31, hibernation_s=1)
    assert time.monotonic() - began < 10
    hangs.set()
    world.storage.saved_memory.delete = drop
    assert "web1" not in hypervisor.running
    assert EventKind.NOT_SAVED in world.told("n1")
    assert not world.storage.saved_memory.of("web1").resumable


@pytest.mark.parametrize(("disks", "saved"), [(DISK, True), (DISK + OTHER, False)])
def test_guest_with_a_disk_that_is_not_ours_is_not_saved(world, disks, saved):
    world.nodes["n1"].hypervisor.xmls["web1"] = XML.replace("<devices/>", f"<devices>{disks}</devices>")
    world.stop("n1")
    assert (world.storage.saved_memory.of("web1") is not None) is saved
    assert (EventKind.NOT_SAVED in world.told("n1")) is not saved

"""Give a VM a further disk."""

from collections.abc import Collection
from typing import NamedTuple

from vm_mgr.errors import Kind, SignalError, VmMgrError, raise_all
from vm_mgr.model.intent import Intent
from vm_mgr.model.storage import DiskInfo, ImageFile
from vm_mgr.model.vm import VmName
from vm_mgr.operations.create import bus_problems, tell_losses
from vm_mgr.operations.lifecycle.saved_memory import saved_problems
from vm_mgr.operations.storage.hotplug import attach_disk, guest_sources
from vm_mgr.operations.storage.overlay import disk_problems
from vm_mgr.operations.storage.own_clients import note_clients_of
from vm_mgr.operations.storage.quiesce import node_of
from vm_mgr.operations.support.capacity import room_problems
from vm_mgr.operations.support.locking import Step, locked, with_intent
from vm_mgr.operations.support.preconditions import quorum_problems, require_defined, steady_problems
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note, Progress

__all__ = ["NewDisk", "add_disk", "recover"]

SMALLEST = 1 << 20
NOT_PLUGGABLE = ("ide", "sata")
MAKING = "making"
PLACING = "placing"
TAKING_BACK = "taking-back"


class NewDisk(NamedTuple):
    """What to add: an empty disk of this size, or a copy of an image; bus: the VM's own unless given."""

    size_bytes: int = 0
    image: str = ""
    image_format: str | None = None
    bus: str | None = None
    allow: Collection[str] = ()


def add_disk(env: Env, name: VmName, new: NewDisk) -> DiskInfo:
    """Make the disk, add it to the definition, plug it into a running guest; if that fails, take it back."""
    with locked(env, name):
        state = env.cluster.state()
        raise_all(quorum_problems(state))
        require_defined(env, name)
        bus = new.bus or env.storage.definitions.settings(name).disk_bus or "virtio"
        problems = steady_problems(state, name) + saved_problems(env, name) + _problems(env, name, new, bus)
        raise_all(problems + disk_problems(env, state, name))
        image = env.images.inspect(new.image, new.image_format) if new.image else None
        size_bytes, label = image.size_bytes if image else new.size_bytes, env.storages.label_of(name)
        raise_all(room_problems(env, label, size_bytes, more_bytes=size_bytes, allow=new.allow))
        tell_losses(env, [image] if image else [])
        number = env.storage.disks.next_number(name)
        with with_intent(env, name, "add-disk", number=str(number), bus=bus, phase=MAKING) as step:
            _make(env, name, number, image, size_bytes)
            step.now(PLACING)
            _finish(step)
        if node_of(env, name) == env.cluster.local_node():
            note_clients_of(env, name)
        return env.storage.disks.of(name)[number]


def recover(env: Env, name: VmName, intent: Intent) -> bool:
    """Finish once the disk was whole; before that, or where the guest could not get it, remove it."""
    if not env.storage.definitions.exists(name):
        return False
    step = Step(env, name, intent)
    if intent.details["phase"] == MAKING:
        env.storage.unstage(name)
        return False
    if intent.details["phase"] == PLACING:
        try:
            _finish(step)
        except VmMgrError as error:
            if step.intent.details["phase"] != TAKING_BACK:
                raise
            env.say(Note(Level.WARNING, "not-plugged", f"a disk can't be given to {name}: {error.message}"))
        else:
            return True
    _take_back(step)
    return False


def _problems(env: Env, name: VmName, new: NewDisk, bus: str) -> list[VmMgrError]:
    problems = bus_problems(bus)
    if bool(new.image) == bool(new.size_bytes):
        message = "a disk needs either a size, of 1M or more, or an image to copy"
        problems.append(VmMgrError(Kind.INVALID, message, hint="give a size, for example 20G, or --image"))
    elif new.size_bytes and new.size_bytes < SMALLEST:
        message = f"a disk of {new.size_bytes} bytes is too small"
        problems.append(VmMgrError(Kind.INVALID, message, hint="give at least 1M"))
    if bus in NOT_PLUGGABLE and node_of(env, name) is not None:
        message = f"a running guest can't be given a disk on the bus {bus}"
        hint = f"use --disk-bus virtio or scsi, or stop it first: vm-mgr stop {name}"
        problems.append(VmMgrError(Kind.WRONG_STATE, message, hint=hint))
    return problems


def _make(env: Env, name: VmName, number: int, image: ImageFile | None, size_bytes: int) -> None:
    doing = f"importing {image.path}" if image else f"making disk {number} of {name}"
    env.storage.disks.make(
        name, number, size_bytes, image, lambda fraction: env.say(Progress(doing, fraction))
    )


def _finish(step: Step) -> None:
    """Put it in place, describe it, plug it in; each step finds out by itself whether it was done."""
    env, name, details = step.env, step.name, step.intent.details
    number = int(details["number"])
    disk = env.storage.disks.locate(name, number, details["bus"])
    env.storage.disks.place(name, number)
    xml = env.storage.definitions.read(name)
    if disk.source not in env.definitions.sources(xml):
        env.storage.definitions.describe(name, {"xml": env.definitions.with_disk(xml, disk)})
    try:
        attach_disk(env, name, disk.source)
    except (VmMgrError, SignalError):
        step.now(TAKING_BACK)
        raise


def _take_back(step: Step) -> None:
    """Remove the disk, unless the guest has got it after all: it could not be made to let go."""
    env, name, number = step.env, step.name, int(step.intent.details["number"])
    source = env.storage.disks.locate(name, number, None).source
    if source in (guest_sources(env, name) or ()):
        env.say(Note(Level.WARNING, "kept", f"the guest of {name} has got the disk {source} after all"))
        return
    xml = env.storage.definitions.read(name)
    if source in env.definitions.sources(xml):
        env.storage.definitions.describe(name, {"xml": env.definitions.without_disk(xml, source)})
    env.storage.disks.drop(name, number)

"""Make a VM's disk larger."""

from collections.abc import Collection

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.capacity import size_words
from vm_mgr.model.storage import DiskInfo, no_such_disk
from vm_mgr.model.vm import VmName
from vm_mgr.operations.lifecycle.saved_memory import saved_problems
from vm_mgr.operations.storage.free import shed_dead
from vm_mgr.operations.storage.hotplug import at_guest
from vm_mgr.operations.storage.overlay import disk_problems
from vm_mgr.operations.support.capacity import room_problems
from vm_mgr.operations.support.locking import asked, locked
from vm_mgr.operations.support.preconditions import quorum_problems, require_defined
from vm_mgr.ports.env import Env

__all__ = ["resize_disk"]


def resize_disk(
    env: Env, name: VmName, size_bytes: int, number: int = 0, *, allow: Collection[str] = ()
) -> DiskInfo:
    """Grow the disk with this number (0 is the system disk) and tell a running guest.

    Shrinking is refused: it would cut off what the guest has there. Repeating it tells the guest again.
    """
    with locked(env, name):
        state = env.cluster.state()
        raise_all(quorum_problems(state))
        require_defined(env, name)
        raise_all(saved_problems(env, name) + disk_problems(env, state, name))
        disks = env.storage.disks.of(name)
        if not 0 <= number < len(disks):
            raise no_such_disk(name, number, len(disks))
        disk = disks[number]
        if size_bytes < disk.size_bytes:
            message = f"disk {number} of {name} has {size_words(disk.size_bytes)}; it can't be made smaller"
            raise VmMgrError(Kind.INVALID, message, hint="give a larger size, for example 20G")
        if size_bytes > disk.size_bytes:
            label, more_bytes = env.storages.label_of(name), size_bytes - disk.size_bytes
            raise_all(room_problems(env, label, size_bytes, more_bytes=more_bytes, allow=allow))
        asked(env, name, "resize-disk")
        shed_dead(env, name)
        env.storage.disks.resize(name, disk.image, size_bytes)
        source = env.storage.disks.locate(name, number, None).source
        at_guest(env, name, lambda hypervisor: hypervisor.grow(name, source, size_bytes))
        return env.storage.disks.of(name)[number]

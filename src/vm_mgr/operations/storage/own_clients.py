"""Know which storage clients are a VM's own QEMU's, so that its node can prove them dead when it has ended.

QEMU makes one client for each disk, whose address has a random number: nothing else on the node tells whose
client it is. But a client numbers its watch by the address of an object in its own memory (librbd's
ImageWatcher, by way of Objecter::LingerOp::get_cookie), which the kernel shows in the process's map. A client
of which that is not certain is not noted: it is waited for like one of another node.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from vm_mgr.bounded import OutOfTimeError, bounded
from vm_mgr.errors import VmMgrError
from vm_mgr.model.storage import DiskClient
from vm_mgr.model.vm import VmName
from vm_mgr.ports.env import Env
from vm_mgr.ports.own_clients import Opened
from vm_mgr.ports.storage import Storage

__all__ = ["dead_addresses", "note_clients", "note_clients_of"]

# It is an aid: a start does not wait longer for it.
LOOK_S = 2.0


def note_clients(env: Env, storage: Storage, name: VmName, pid: int, images: Sequence[str]) -> None:
    """Note the clients of the process that has just opened these images; it never fails."""
    with suppress(VmMgrError, OutOfTimeError):
        birth = env.processes.birth(pid)
        found = bounded(lambda: storage.clients.of(images), LOOK_S) if images and birth else []
        addresses = _own(env, pid, found)
        if not addresses or env.processes.birth(pid) != birth:
            return
        kept = env.own_clients.kept(name)
        if kept is not None and (kept.pid, kept.birth) == (pid, birth):
            addresses |= kept.addresses
        env.own_clients.keep(name, Opened(pid, birth, addresses))


def note_clients_of(env: Env, name: VmName, *, storage: str = "") -> None:
    """Note the clients of a VM that runs on this node, whatever it has opened since; it never fails."""
    with suppress(VmMgrError):
        pid, label = env.processes.find_vm(name), storage or env.storages.label_of(name)
        if pid is not None and label:
            where = env.storages.get(label)
            note_clients(env, where, name, pid, where.clients.images(name))


def dead_addresses(env: Env, name: VmName) -> frozenset[str]:
    """Give the addresses of clients that died with the VM's last QEMU on this node.

    Raises ENVIRONMENT where the process table can't be read.
    """
    kept = env.own_clients.kept(name)
    if kept is None or not env.processes.has_ended(kept.pid, kept.birth):
        return frozenset()
    return kept.addresses


def _own(env: Env, pid: int, holders: Sequence[DiskClient]) -> frozenset[str]:
    """Choose the watchers that are certainly the process's: the only one of a disk that may be.

    QEMU's clients have one disk each: who has two of them is another program.
    """
    me = env.cluster.local_node()
    may_be = [
        one
        for one in holders
        if one.watch and env.node_addresses.get(one.host) == me and env.processes.has_memory(pid, one.watch)
    ]
    by_image = Counter(one.image for one in may_be)
    disks = Counter(address for _, address in {(one.image, one.address) for one in holders})
    return frozenset(one.address for one in may_be if by_image[one.image] == 1 and disks[one.address] == 1)

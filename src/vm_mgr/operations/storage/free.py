"""Have the storage forget who died with a VM's disks open, before something is done to them.

A client that died leaves its lock: librbd then takes an image for one that can only be read. The rule is that
of a start (operations/storage/disk_interlock.py).
"""

from collections.abc import Sequence

from vm_mgr.model.vm import VmName
from vm_mgr.operations.storage.disk_interlock import OPERATION_S, free_disks, node_beside, wait_free
from vm_mgr.operations.storage.quiesce import node_of
from vm_mgr.ports.env import Env
from vm_mgr.ports.storage import Storage

__all__ = ["require_free", "shed_dead"]


def require_free(env: Env, name: VmName, refusal: str, images: Sequence[str] = ()) -> None:
    """Free all of a VM's disks, or these; raises WRONG_STATE naming who is, or may be, alive."""
    storage = _storage(env, name)
    if storage is not None:
        images = images or storage.clients.images(name)
        patience_s = OPERATION_S if _are_clients(storage, images) else 0
        free_disks(env, storage, name, images, patience_s=patience_s, refusal=refusal)


def shed_dead(env: Env, name: VmName) -> None:
    """Free the disks of a VM that the cluster does not run, as far as their holders are dead.

    Who lives may be somebody's own QEMU, and what is to be done goes on beside it: one that a libvirt knows
    is not waited for.
    """
    storage = _storage(env, name)
    if storage is None or node_of(env, name) is not None:
        return
    images = storage.clients.images(name)
    if _are_clients(storage, images) and node_beside(env, name) is None:
        wait_free(env, storage, name, images, patience_s=OPERATION_S)


def _are_clients(storage: Storage, images: Sequence[str]) -> bool:
    """Tell clients, which a storage gives up after a time, from the locks of processes that run."""
    holders = storage.clients.of(images)
    return bool(holders) and all(one.address for one in holders)


def _storage(env: Env, name: VmName) -> Storage | None:
    label = env.storages.label_of(name)
    return env.storages.get(label) if label else None

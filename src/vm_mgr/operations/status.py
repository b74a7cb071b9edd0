"""Tell the state of one VM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.model.vm import VmName, VmState, VmStatus
from vm_mgr.operations.support.bars import with_bars
from vm_mgr.operations.support.vm_state import derive_status, outside

if TYPE_CHECKING:
    from vm_mgr.ports.env import Env

__all__ = ["full_status", "status"]


def status(env: Env, name: VmName) -> VmStatus:
    """Look at the cluster, and at the storage only for a VM that the cluster does not have."""
    state = env.cluster.state()
    resource = state.resources.get(name)
    if resource is not None and resource.is_vm:
        return derive_status(resource, state)
    defined = env.storage.definitions.exists(name)
    return outside(name, state) if defined else VmStatus(name, VmState.UNDEFINED)


def full_status(env: Env, name: VmName) -> VmStatus:
    """Tell also why no node may run it, and of saved memory.

    A VM that runs has none, and no storage is asked for it.
    """
    seen = status(env, name)
    if seen.waits:
        (seen,) = with_bars(env, [seen])
    if seen.state in (VmState.STARTED, VmState.UNDEFINED, VmState.UNKNOWN):
        return seen
    from vm_mgr.operations.lifecycle.saved_memory import with_saved  # noqa: PLC0415 - not for a VM that runs

    return with_saved(env, seen)

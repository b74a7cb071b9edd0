"""Tell the state of one VM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.model.vm import VmName, VmState, VmStatus
from vm_mgr.operations.view import view

if TYPE_CHECKING:
    from vm_mgr.ports.env import Env

__all__ = ["status"]


def status(env: Env, name: VmName) -> VmStatus:
    """Look at the cluster, and at the storage only for a VM that the cluster does not have."""
    state = env.cluster.state()
    resource = state.resources.get(name)
    if resource is not None and resource.is_vm:
        return view(resource, state)
    return VmStatus(name, VmState.DISABLED if env.storage.exists(name) else VmState.UNDEFINED)

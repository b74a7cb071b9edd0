"""List all VMs with their states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.model.vm import VmName, VmState, VmStatus
from vm_mgr.operations.view import view

if TYPE_CHECKING:
    from vm_mgr.ports.env import Env

__all__ = ["list_vms"]


def list_vms(env: Env) -> list[VmStatus]:
    """Join what the cluster runs and what the storage defines, sorted by name."""
    state = env.cluster.state()
    enabled = {
        VmName(name): view(resource, state) for name, resource in state.resources.items() if resource.is_vm
    }
    disabled = {name: VmStatus(name, VmState.DISABLED) for name in env.storage.names() if name not in enabled}
    return sorted((enabled | disabled).values(), key=lambda vm: vm.name)

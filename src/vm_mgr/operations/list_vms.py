"""List all VMs with their states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.model.vm import VmName, VmState, VmStatus
from vm_mgr.operations.view import view

if TYPE_CHECKING:
    from vm_mgr.model.mark import Mark
    from vm_mgr.ports.env import Env

__all__ = ["list_vms"]


def list_vms(env: Env) -> list[VmStatus]:
    """Join what the cluster runs, what the storage defines and what was left unfinished, sorted by name."""
    state = env.cluster.state()
    vms = {
        VmName(name): view(resource, state) for name, resource in state.resources.items() if resource.is_vm
    }
    for name in env.storage.names():
        vms.setdefault(name, VmStatus(name, VmState.DISABLED))
    for name, mark in env.ledger.marks().items():
        vm = vms.get(name, VmStatus(name, VmState.UNDEFINED))
        vms[name] = vm._replace(detail="; ".join(filter(None, (vm.detail, _unfinished(mark)))))
    return sorted(vms.values(), key=lambda vm: vm.name)


def _unfinished(mark: Mark) -> str:
    return f"{mark.verb} under way on {mark.node}, or unfinished (vm-mgr repair)"

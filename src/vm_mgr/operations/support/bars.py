"""Say of VMs that are to run, and that the cluster does not begin to start, why it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.errors import VmMgrError
from vm_mgr.model.vm import VmState, VmStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vm_mgr.ports.cluster import Cause
    from vm_mgr.ports.env import Env

__all__ = ["with_bars", "words_of"]

# How many reasons are told.
TOLD = 4


def with_bars(env: Env, seen: Iterable[VmStatus]) -> list[VmStatus]:
    """Give them with the reasons; a VM that waits is Stopped, or Failed if it has failed before.

    Where the scheduler can't be asked, or is about to start a VM, that one stays as it was seen. Of one that
    the cluster leaves alone that is the reason.
    """
    vms = [_left_alone(vm) if vm.waits and vm.unmanaged else vm for vm in seen]
    waiting = [vm.name for vm in vms if vm.waits and not vm.barred]
    if not waiting:
        return vms
    try:
        found = env.cluster.bars(waiting)
    except VmMgrError:
        return vms
    return [_barred(vm, found[vm.name]) if vm.name in found else vm for vm in vms]


def words_of(causes: Iterable[Cause]) -> str:
    """Say the causes in one sentence."""
    texts = [one.text for one in causes]
    more = f"; and {len(texts) - TOLD} more" if len(texts) > TOLD else ""
    return "; ".join(texts[:TOLD]) + more


def _left_alone(vm: VmStatus) -> VmStatus:
    return vm._replace(state=_state(vm), awaits="", barred=vm.unmanaged)


def _state(vm: VmStatus) -> VmState:
    return VmState.FAILED if vm.detail else VmState.STOPPED


def _barred(vm: VmStatus, causes: tuple[Cause, ...]) -> VmStatus:
    why = words_of(causes)
    hint = next((one.hint for one in causes if one.hint), f"see: vm-mgr show {vm.name}; crm_mon -1")
    text = f"no node may run it{': ' + why if why else ''} ({hint})"
    return vm._replace(state=_state(vm), detail="; ".join(filter(None, (vm.detail, text))), barred=text)

"""Look at what `list --wide` tells of VMs beside their state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.on_move import on_move_of
from vm_mgr.model.wide import Wide
from vm_mgr.reports import Level, Note

if TYPE_CHECKING:
    from vm_mgr.model.vm import VmName
    from vm_mgr.operations.list_vms import Listing
    from vm_mgr.ports.env import Env

__all__ = ["look_wide"]


def look_wide(env: Env, listing: Listing) -> Listing:
    """Add what is stored of VMs, reading each definition once.

    Of VMs that another tool keeps, or that can't be read, nothing is given. A storage that does not answer is
    asked once. It is told in a warning, as is what is no definition.
    """
    found: dict[VmName, Wide] = {}
    silent: set[str] = set()
    for name in (vm.name for vm in listing.vms):
        label = ""
        try:
            label = env.storages.label_of(name) or ""
            if label and label not in silent:
                found[name] = _look(env, name, label)
        except VmMgrError as error:
            if error.kind is Kind.EXTERNAL_FAILURE:
                silent.add(label)
            if error.kind is not Kind.NOT_FOUND:
                env.say(Note(Level.WARNING, "not-seen", f"{name}: {error.message}", error.hint))
            if not label:
                break  # where VMs are is not known
    return listing._replace(wide=found)


def _look(env: Env, name: VmName, label: str) -> Wide:
    machine = env.definitions.machine(env.storage.definitions.read(name))
    on_move = on_move_of(env.storage.definitions.settings(name)).value
    return Wide(machine.memory_bytes, machine.vcpus, on_move, label, machine.description)

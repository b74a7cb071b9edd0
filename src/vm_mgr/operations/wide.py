"""Look at what `list --wide` tells of VMs beside their state."""

from collections.abc import Iterable
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.on_move import on_move_of
from vm_mgr.model.vm import VmName, VmStatus
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["Wide", "look_wide"]


class Wide(NamedTuple):
    """What is stored of a VM; on_move: a word of model/on_move.py; storage: its label."""

    memory_bytes: int
    vcpus: int
    on_move: str
    storage: str
    description: str


def look_wide(env: Env, vms: Iterable[VmStatus]) -> dict[VmName, Wide]:
    """Read each definition once; of VMs that another tool keeps, or that can't be read, nothing is given.

    A storage that does not answer is asked once. It is told in a warning, as is what is no definition.
    """
    found: dict[VmName, Wide] = {}
    silent: set[str] = set()
    for name in (vm.name for vm in vms):
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
    return found


def _look(env: Env, name: VmName, label: str) -> Wide:
    machine = env.definitions.machine(env.storage.definitions.read(name))
    on_move = on_move_of(env.storage.definitions.settings(name)).value
    return Wide(machine.memory_bytes, machine.vcpus, on_move, label, machine.description)

"""Look at what `list --wide` tells of VMs beside their state."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.event import asked_verb
from vm_mgr.model.failover import arrival
from vm_mgr.model.on_move import on_move_of
from vm_mgr.model.pause import PauseReason
from vm_mgr.model.vm import VmState
from vm_mgr.model.wide import Wide
from vm_mgr.reports import Level, Note

if TYPE_CHECKING:
    from vm_mgr.model.event import Event
    from vm_mgr.model.vm import VmName
    from vm_mgr.operations.list_vms import Listing
    from vm_mgr.ports.env import Env

__all__ = ["look_wide"]

LOOK_S = 10.0
# Of what is between two of them, nothing is told.
SETTLED = (VmState.STARTED, VmState.STOPPED, VmState.DISABLED)
# What pauses a guest, and what ends that.
TURNS = ("pause", "resume", "start", "stop", "restart", "rollback", "disable")


def look_wide(env: Env, listing: Listing) -> Listing:
    """Add what is stored of VMs, reading each definition once, and what the event log tells of them.

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
    return _with_past(env, listing._replace(wide=found))


def _with_past(env: Env, listing: Listing) -> Listing:
    """Add since when each VM is as it is, and which of the guests that a user has paused still are.

    Only their nodes are asked for these. Without the event log, nothing is added.
    """
    events: dict[str, list[Event]] = {}
    try:
        for event in env.event_log.read():
            events.setdefault(event.subject, []).append(event)
    except VmMgrError:
        return listing
    since_utc, paused = {}, set()
    for vm in listing.vms:
        nodes = (vm.node,) if vm.node else ()
        told = events.get(vm.name, [])
        came = arrival(told, vm.name, nodes) if vm.state in SETTLED else None
        if came is not None:
            since_utc[vm.name] = came
        turns = [verb for verb in map(asked_verb, told) if verb in TURNS]
        if vm.state is VmState.STARTED and vm.node and turns and turns[-1] == "pause":
            with suppress(VmMgrError):
                hypervisor = env.hypervisor_at(NodeName(vm.node))
                if hypervisor.paused(vm.name, timeout_s=LOOK_S) is PauseReason.USER:
                    paused.add(vm.name)
    return listing._replace(since_utc=since_utc, paused=frozenset(paused))


def _look(env: Env, name: VmName, label: str) -> Wide:
    machine = env.definitions.machine(env.storage.definitions.read(name))
    on_move = on_move_of(env.storage.definitions.settings(name)).value
    return Wide(machine.memory_bytes, machine.vcpus, on_move, label, machine.description)

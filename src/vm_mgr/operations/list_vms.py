"""List all VMs with their states."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vm_mgr.errors import VmMgrError, raise_all
from vm_mgr.model.vm import VmName, VmState, VmStatus
from vm_mgr.operations.support.bars import with_bars
from vm_mgr.operations.support.fence_devices import warn_of_lost_nodes, warn_of_silent_devices
from vm_mgr.operations.support.vm_state import derive_status, outside
from vm_mgr.reports import Level, Note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vm_mgr.model.intent import Intent
    from vm_mgr.model.wide import Wide
    from vm_mgr.ports.env import Env

__all__ = ["Listing", "list_vms", "look", "warn_of_rules"]


class Listing(NamedTuple):
    """The VMs that were found, sorted by name, and why there may be more.

    wanted: what those in the cluster are to be, Started or Stopped. Where that was looked at, wide has what
    is stored of them, since_utc when they came to be as they are, paused those whose guest a user paused.
    """

    vms: list[VmStatus]
    missing: list[VmMgrError]
    wanted: Mapping[VmName, str] = {}
    wide: Mapping[VmName, Wide] | None = None
    since_utc: Mapping[VmName, float] = {}
    paused: frozenset[VmName] = frozenset()


def list_vms(env: Env) -> list[VmStatus]:
    """Give all VMs; raises where one of the places to look at can't be reached."""
    listing = look(env)
    raise_all(listing.missing)
    return listing.vms


def look(env: Env) -> Listing:
    """Join what the cluster runs, what each storage defines and what was left unfinished.

    Only the cluster must answer: when a storage is down, what runs is what one wants to see.
    """
    state = env.cluster.state()
    warn_of_lost_nodes(env, state)
    warn_of_silent_devices(env, state)
    warn_of_rules(env, sorted(state.ruled))
    vms = {
        VmName(name): derive_status(resource, state)
        for name, resource in state.resources.items()
        if resource.is_vm
    }
    missing = []
    for label in env.storages.labels():
        try:
            for name in env.storages.names(label):
                vms.setdefault(name, outside(name, state))
        except VmMgrError as error:
            missing.append(error)
    try:
        for name, intent in env.intent_log.intents().items():
            vm = vms.get(name, VmStatus(name, VmState.UNDEFINED))
            vms[name] = vm._replace(detail="; ".join(filter(None, (vm.detail, _unfinished(intent)))))
    except VmMgrError as error:
        if error.message not in [known.message for known in missing]:
            missing.append(error)
    wanted = {VmName(name): one.wanted for name, one in state.resources.items() if one.is_vm}
    return Listing(sorted(with_bars(env, vms.values()), key=lambda vm: vm.name), missing, wanted)


def warn_of_rules(env: Env, names: Sequence[str]) -> None:
    """Say whose rules open nodes in a cluster that has become opt-in."""
    if names:
        text = f"the cluster is opt-in, and rules by what VMs require open nodes there: {', '.join(names)}"
        env.say(Note(Level.WARNING, "rules-open-nodes", text, "remove these rules: vm-mgr repair"))


def _unfinished(intent: Intent) -> str:
    return f"{intent.verb} under way on {intent.node}, or unfinished (vm-mgr repair)"

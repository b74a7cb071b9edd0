"""Derive what a user sees of a VM from what Pacemaker reports."""

import time
from collections.abc import Sequence

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import OWN_AGENT, ClusterState, Node, NodeName, Resource
from vm_mgr.model.resource import disk_id
from vm_mgr.model.vm import VmName, VmState, VmStatus

__all__ = [
    "derive_status",
    "membership_problems",
    "no_host_words",
    "node_state",
    "outside",
    "unmanaged_words",
]

FULL = "its storage is full"
OUT_OF_SIGHT = "the cluster has no quorum here: it may run on the other side"


def derive_status(resource: Resource, state: ClusterState) -> VmStatus:
    """Map a resource to one of the states that users know."""
    name = VmName(resource.name)
    node = resource.nodes[0] if resource.nodes else ""
    is_seen = state.quorate or (resource.active and not _lost(resource, state))
    vm_state, detail = _state(resource, state) if is_seen else (VmState.UNKNOWN, OUT_OF_SIGHT)
    moving = vm_state is VmState.STARTED and _is_migrating(resource)
    seen = VmStatus(name, vm_state, node, detail, _alarm(name, state), moving, _kept_by(resource))
    waits = vm_state is VmState.STARTING and not (resource.active or resource.in_transition)
    awaits = _awaited(resource, state) if waits else ""
    return seen._replace(unmanaged=unmanaged_words(state, resource), waits=waits, awaits=awaits)


def outside(name: VmName, state: ClusterState, *, detail: str = "") -> VmStatus:
    """Give the state of a VM that is stored, and that the cluster does not have as far as can be seen."""
    if not state.quorate:
        return VmStatus(name, VmState.UNKNOWN, detail=OUT_OF_SIGHT)
    return VmStatus(name, VmState.DISABLED, detail=detail)


def _kept_by(resource: Resource) -> str:
    group = f"in the {resource.within}" if resource.within else ""
    agent = "" if resource.agent == OWN_AGENT else f"run by {resource.agent}"
    return "; ".join(filter(None, (group, agent)))


def membership_problems(resource: Resource | None, refusal: str) -> list[VmMgrError]:
    """Refuse what would break the group, clone or bundle that a VM is a part of."""
    if resource is None or not resource.within:
        return []
    kind, _, group = resource.within.partition(" ")
    name, hint = resource.name, "take it out with the tool that made this: crm or pcs"
    if kind == "group":
        hint = (
            f"ungroup it first: crm configure modgroup {group} remove {name}; or: pcs resource group remove"
        )
        hint += f" {group} {name}"
    return [VmMgrError(Kind.WRONG_STATE, f"{name} is {refusal}: it is in the {resource.within}", hint=hint)]


def unmanaged_words(state: ClusterState, resource: Resource | None) -> str:
    """Say why the cluster leaves a VM alone; nothing for one that it manages, or has not yet.

    One that is blocked it calls unmanaged too: that is its own doing.
    """
    if state.maintenance:
        return "not managed: the cluster is in maintenance mode"
    if resource is None or resource.managed or resource.blocked:
        return ""
    for name in resource.nodes:
        if (node := state.node(name)) is not None and node.maintenance:
            return f"not managed: {name} is in maintenance"
    return f"not managed: {resource.name} is in maintenance, or has is-managed=false"


def no_host_words(state: ClusterState) -> str:
    """Say why no node can run VMs."""
    told = ", ".join(f"{node.name} {node_state(node)}" for node in state.nodes if not node.observer)
    return f"no node can run VMs now: {told or 'there is none'}"


def node_state(node: Node) -> str:
    """Say why a node can't run VMs now."""
    states = {
        "is lost": node.unclean,
        "is not ready yet": node.pending,
        "is offline": not node.online,
        "is being shut down": node.shutting_down,
        "is in standby": node.standby,
        "is in maintenance": node.maintenance,
    }
    return next((text for text, true in states.items() if true), "can run VMs")


def _awaited(resource: Resource, state: ClusterState) -> str:
    """Say what keeps the cluster from a start that nothing forbids."""
    lost = [node.name for node in state.nodes if node.unclean] if state.fencing_enabled else []
    fencing = f"the cluster starts nothing until {_and(lost)} fenced" if lost else ""
    joining = [f"{node.name} {node_state(node)}" for node in state.nodes if node.pending and not node.unclean]
    disks = disk_id(resource.name, "")
    absent = [
        f"{name} does not run yet"
        for name, one in state.resources.items()
        if name.startswith(disks) and not one.active
    ]
    return "; ".join(filter(None, (fencing, *joining, *absent)))


def _and(names: Sequence[str]) -> str:
    """Join them as the subject of a sentence.

    >>> _and(["n1"]), _and(["n1", "n2", "n3"])
    ('n1 is', 'n1, n2 and n3 are')
    """
    *first, last = names
    return f"{', '.join(first)} and {last} are" if first else f"{last} is"


def _is_migrating(resource: Resource) -> bool:
    return "Migrating" in (resource.pending, resource.role) and not resource.blocked


def _alarm(name: VmName, state: ClusterState) -> str:
    found = [node.name for node in state.nodes if name in node.alarms]
    if not found:
        return ""
    where = " and ".join(found)
    return f"ALARM: it was found to run twice, on {where} too (vm-mgr events {name}); check its file systems"


def _lost(resource: Resource, state: ClusterState) -> list[NodeName]:
    unclean = {node.name for node in state.nodes if node.unclean}
    return [name for name in resource.nodes if name in unclean]


def _state(resource: Resource, state: ClusterState) -> tuple[VmState, str]:
    if lost := _lost(resource, state):
        return VmState.FAILED, f"node {lost[0]} is lost and not yet fenced"
    if resource.blocked:
        return _blocked(resource)
    # Pacemaker keeps calling a resource failed while it recovers it: what it is doing says more.
    if "Starting" in (resource.pending, resource.role):
        return VmState.STARTING, resource.last_failure
    if "Stopping" in (resource.pending, resource.role):
        return VmState.STOPPING, ""
    if resource.target_role == "Stopped":
        return (VmState.STOPPING if resource.active else VmState.STOPPED), ""
    return _running(resource, state) if resource.active else _waiting(resource, state)


def _blocked(resource: Resource) -> tuple[VmState, str]:
    """Tell a VM that runs on because its live migration failed from one that is broken."""
    if resource.blocked_on and all(failure.task == "migrate_to" for failure in resource.failures):
        return VmState.STARTED, f"not moved: {resource.last_failure}"
    return VmState.FAILED, resource.last_failure or "blocked; see: crm_mon -1"


def _running(resource: Resource, state: ClusterState) -> tuple[VmState, str]:
    if resource.failed:
        return VmState.FAILED, resource.last_failure or "about to be recovered"
    if _is_migrating(resource):
        return VmState.STARTED, "moving"
    here = resource.nodes[:1]
    since = next((node.full.get(resource.name) for node in state.nodes if node.name in here), None)
    return VmState.STARTED, "" if since is None else f"its guest is paused: {FULL} since {_time(since)}"


def _time(utc: int) -> str:
    """Write a time as people read it in every time zone.

    >>> _time(1767225600)
    '2026-01-01 00:00:00 UTC'
    """
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(utc))


def _waiting(resource: Resource, state: ClusterState) -> tuple[VmState, str]:
    """Tell a VM that is about to start from one that can't."""
    if state.stop_all:
        return VmState.STOPPED, "stop-all-resources is set"
    able = {node.name for node in state.nodes if node.can_host}
    if not able:
        return VmState.STOPPED, no_host_words(state)
    if able <= set(resource.banned_by_failures):
        barred = f"barred on all nodes after failures (vm-mgr start {resource.name})"
        return VmState.FAILED, "; ".join(filter(None, (resource.last_failure, barred)))
    return VmState.STARTING, resource.last_failure

"""Say on which nodes a VM can't run, or is rather not run, and why."""

from collections.abc import Iterator
from typing import NamedTuple

from vm_mgr.model.cluster import ClusterState, Node, NodeName, Resource
from vm_mgr.model.node_requirements import cures, penalty, reasons
from vm_mgr.model.resource import ClusterParts
from vm_mgr.operations.support.vm_state import node_state
from vm_mgr.ports.cluster import VmResource

__all__ = [
    "PlacementProblem",
    "missing_resources",
    "placement_problems",
    "worse_node_reasons",
]


class PlacementProblem(NamedTuple):
    """What speaks against a node; never: the VM can't be placed there at all as things are."""

    node: NodeName
    reason: str
    never: bool


def placement_problems(
    state: ClusterState, vm: VmResource, resource: Resource | None
) -> list[PlacementProblem]:
    """Look at all hypervisors; resource: the VM's, where the cluster has it.

    Of the node that it runs on only what makes others better is named.
    """
    here = resource.nodes if resource is not None and resource.active else ()
    found = []
    for node in (one for one in state.nodes if not one.observer):
        if node.name not in here:
            found += [
                PlacementProblem(node.name, reason, never=True) for reason in _bars(state, vm, resource, node)
            ]
        against = reasons(vm.requirements, node.attributes, follow_uplink=vm.follow_uplink)
        found += [PlacementProblem(node.name, reason, never=False) for reason in against]
    return found


def missing_resources(state: ClusterState, parts: ClusterParts, node: NodeName) -> list[str]:
    """Name what a VM depends on that does not run on a node; one that is unknown is taken to run.

    A disk that is no clone comes along with its VM. An instance that is to be promoted has to run: the
    cluster promotes it there when the VM comes.
    """
    single = {disk.id for disk in parts.disks if disk.clone is None}
    needed = [one.on for one in parts.depends_on if one.on not in single]
    return [one for one in needed if _is_missing(state, one, node)]


def _is_missing(state: ClusterState, needed: str, node: NodeName) -> bool:
    single = state.resources.get(needed)
    there = state.sets.get(needed, frozenset(single.nodes) if single is not None else None)
    return there is not None and node not in there


def worse_node_reasons(
    state: ClusterState, vm: VmResource, source: NodeName, target: NodeName
) -> list[tuple[str, str]]:
    """Say why the cluster would move a VM back at once that somebody moves so, each with its cure, if any."""
    if not vm.requirements:
        return []
    nodes = [state.node(source), state.node(target)]
    here, there = (node.attributes if node else {} for node in nodes)
    follow = vm.follow_uplink
    if penalty(vm.requirements, there, follow_uplink=follow) >= penalty(
        vm.requirements, here, follow_uplink=follow
    ):
        return []
    why = reasons(vm.requirements, there, follow_uplink=follow)
    return list(zip(why, cures(vm.requirements, there, follow_uplink=follow), strict=True))


def _bars(state: ClusterState, vm: VmResource, resource: Resource | None, node: Node) -> Iterator[str]:
    if not node.can_host:
        yield f"it {node_state(node)}"
    if vm.pinned_host and vm.pinned_host != node.name:
        yield f"the VM is pinned to {vm.pinned_host}"
    if resource is not None and node.name in resource.banned_by_failures:
        yield "it has failed there too often; the cluster tries again once that is forgotten"
    for resource_id in missing_resources(state, ClusterParts(vm.disks, vm.depends_on), node.name):
        yield f"{resource_id} does not run there"

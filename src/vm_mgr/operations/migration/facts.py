"""Load what a move needs to know, each fact once; migration/prechecks.py judges it.

There are three loads, each dearer than the one before: a look at cluster and storage, a call at the source, a
call at each target. The next is made only for a move that the last one allows.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

from vm_mgr.errors import VmMgrError
from vm_mgr.model.cluster import ClusterState, NodeName, Resource
from vm_mgr.model.resource import Clone, ClusterParts
from vm_mgr.model.vm import TargetRole, VmName, VmSettings, VmStatus
from vm_mgr.operations.lifecycle.waiting import known_settings
from vm_mgr.operations.migration.options import Target
from vm_mgr.operations.storage.overlay import Elsewhere, elsewhere
from vm_mgr.operations.support.requirements import ask_nodes, live_problems
from vm_mgr.ports.cluster import Move, Simulation, VmResource
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note, Progress

__all__ = [
    "Facts",
    "Guest",
    "Targets",
    "configured_vm",
    "load",
    "load_guest",
    "load_targets",
    "simulate",
]


class Facts(NamedTuple):
    """What the cluster and the storage say of a VM before its move.

    both_promoted: whether its disks have to be promoted at two nodes meanwhile.
    """

    state: ClusterState
    before: Resource
    seen: VmStatus
    source: NodeName
    vm: VmResource
    settings: VmSettings
    both_promoted: bool = False


class Guest(NamedTuple):
    """What libvirt says of it at its source: its XML, or why that can't be had.

    elsewhere: where it writes that is not in its stored definition; nothing where that can't be known.
    immovable: what keeps it from being moved live; where libvirt is silent, in its stored definition.
    """

    xml: str = ""
    error: VmMgrError | None = None
    elsewhere: Sequence[Elsewhere] = ()
    immovable: Sequence[str] = ()


class Targets(NamedTuple):
    """What each node that may take it says against that; silent: whose libvirt did not answer, and how.

    storage_parts: what must run on a node before the VM's disks can be used there.
    """

    refusals: Mapping[NodeName, Sequence[VmMgrError]] = {}
    silent: Mapping[NodeName, VmMgrError] = {}
    storage_parts: ClusterParts = ClusterParts()


def configured_vm(env: Env, name: VmName) -> VmResource:
    """Read how the cluster is to run it; the defaults where that was written by another tool."""
    return env.cluster.configured(name).vm or VmResource(name, TargetRole.STARTED)


def load(env: Env, state: ClusterState, before: Resource, seen: VmStatus) -> Facts:
    """Add to a look at the cluster what is configured and stored."""
    source = NodeName(seen.node)
    vm = configured_vm(env, seen.name)
    both = vm.live_migration and any(disk.clone is Clone.PROMOTABLE for disk in vm.disks)
    return Facts(state, before, seen, source, vm, known_settings(env, seen.name), both)


def load_guest(env: Env, name: VmName, source: NodeName) -> Guest:
    """Ask the source's libvirt; one that does not answer is a fact, too."""
    try:
        guest = Guest(env.hypervisor_at(source).running_definition(name))
    except VmMgrError as error:
        guest = Guest(error=error)
    if guest.xml:
        guest = guest._replace(immovable=env.definitions.immovable(guest.xml))
    with suppress(VmMgrError):  # a storage that does not answer hinders no move
        stored = env.storage.definitions.read(name)
        if guest.xml:
            return guest._replace(elsewhere=elsewhere(env, guest.xml, stored))
        return guest._replace(immovable=env.definitions.immovable(stored))
    return guest


def load_targets(
    env: Env, state: ClusterState, name: VmName, source: NodeName, goal: Target, guest: Guest | None = None
) -> Targets:
    """Ask the node to go to, or each that the cluster may choose.

    guest: what has to go on there; without it no libvirt is asked.
    """
    env.say(Progress(f"looking whether {name} can move"))
    if guest is not None and guest.error is not None:
        return Targets(silent={source: guest.error})
    label = env.storages.label_of(name)
    parts = env.storages.cluster_parts(label, name) if label else ClusterParts()
    kept_off = {source, *goal.avoid}
    refusals: dict[NodeName, Sequence[VmMgrError]] = {}
    silent: dict[NodeName, VmMgrError] = {}
    words = _words(env, guest)
    nodes = [goal.to] if goal.to else [one for one in state.hosts if one not in kept_off]
    targets = {node: env.hypervisor_at(node) for node in nodes}
    with ThreadPoolExecutor(1) as pool:  # the one asks by ssh, the other libvirt
        asked = pool.submit(ask_nodes, env, state, words, host=goal.to) if words else None
        for node, hypervisor in targets.items():
            try:
                refusals[node] = hypervisor.migration_problems(guest.xml) if guest is not None else ()
            except VmMgrError as error:
                refusals[node], silent[node] = (), error
    told = asked.result().told if asked is not None else {}
    for node, found in refusals.items():
        if node in told:
            refusals[node] = [*live_problems(name, node, words, told[node]), *found]
    return Targets(refusals, silent, parts)


def _words(env: Env, guest: Guest | None) -> list[str]:
    """Name what a node must have; libvirt itself knows best of networks, processors and labels."""
    found = env.definitions.requirements(guest.xml) if guest is not None else ()
    return [one for one in found if not one.startswith(("has-network-", "has-model-", "has-secmodel-"))]


def simulate(env: Env, move: Move) -> Simulation:
    """Ask the scheduler what a move would do; nothing, and a warning, where it can't tell."""
    try:
        return env.cluster.simulate_move(move)
    except VmMgrError as error:
        text = f"what else the move of {move.name} would do can't be simulated: {error.message}"
        env.say(Note(Level.WARNING, "not-foreseen", text, error.hint))
        return Simulation(known=False)

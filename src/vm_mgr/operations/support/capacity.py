"""Refuse sizes that no node and no storage can ever give; what is only short now is told."""

from collections.abc import Collection

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.capacity import NodeCapacity, size_words
from vm_mgr.model.cluster import ClusterState, NodeName
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["OVERCOMMIT", "guest_problems", "room_problems", "start_problems", "tell_room"]

# The override: `--allow overcommit`.
OVERCOMMIT = "overcommit"
ALLOW = f"if you know better: --allow {OVERCOMMIT}"


def guest_problems(
    env: Env,
    state: ClusterState,
    *,
    memory_bytes: int | None,
    vcpus: int | None,
    host: str | None = None,
    allow: Collection[str] = (),
    start_bytes: int = 0,
) -> list[VmMgrError]:
    """Refuse more memory or vCPUs than the largest node has, or the one that the VM is pinned to.

    start_bytes: what a start takes now; where no node has so much free, that is told.
    Where a node can't be asked it may be large enough: that is told, and nothing refused.
    """
    if OVERCOMMIT in allow or (memory_bytes is None and vcpus is None):
        return []
    here = env.cluster.local_node()
    nodes = [one for one in state.nodes if not one.observer and host in (None, one.name)]
    nodes.sort(key=lambda one: one.name != here)  # this one answers at once, and mostly is large enough
    found: dict[NodeName, NodeCapacity] = {}
    unknown: list[NodeName] = []
    full: dict[NodeName, int] = {}
    for node in nodes:
        seen = _capacity(env, node.name) if node.online else None
        if seen is None:
            unknown.append(node.name)
            continue
        found[node.name] = seen
        if (memory_bytes or 0) > seen.memory_bytes or (vcpus or 0) > seen.cpus:
            continue
        free_bytes = start_bytes if seen.free_bytes is None else seen.free_bytes
        closed = node.standby or node.maintenance
        if not start_bytes or (free_bytes >= start_bytes and not closed):
            return []
        full[node.name] = 0 if closed else free_bytes
    if full:
        _tell_full(env, full, start_bytes)
        return []
    if unknown or not found:
        text = f"whether a node has so much is not known: {', '.join(unknown) or 'none'} can't be asked"
        env.say(Note(Level.WARNING, "capacity-unknown", text))
        return []
    return _too_large(found, memory_bytes or 0, vcpus or 0)


def start_problems(
    env: Env, state: ClusterState, xml: str, *, host: str | None, allow: Collection[str] = ()
) -> list[VmMgrError]:
    """Refuse to start what has more memory than the largest node; tell where none has so much free."""
    here = state.node(env.cluster.local_node())
    if here is not None and here.observer:  # it can't ask the nodes, and says that of what they have, too
        return []
    machine = env.definitions.machine(xml)
    memory_bytes, start_bytes = machine.memory_bytes, machine.start_bytes
    return guest_problems(
        env, state, memory_bytes=memory_bytes, vcpus=None, host=host, allow=allow, start_bytes=start_bytes
    )


def room_problems(
    env: Env, label: str, size_bytes: int, *, more_bytes: int, allow: Collection[str] = ()
) -> list[VmMgrError]:
    """Refuse a disk that its storage could not hold if it were empty; tell one that it can't hold now.

    more_bytes: by how much a disk grows. Disks take room only as they are filled.
    """
    try:
        room = env.storages.get(label).disks.room()
    except VmMgrError as error:
        text = f"how much room there is is not known: {error.message}"
        env.say(Note(Level.WARNING, "room-unknown", text, error.hint))
        return []
    if size_bytes > room.total_bytes and OVERCOMMIT not in allow:
        total = size_words(room.total_bytes)
        message = f"a disk of {size_words(size_bytes)} can never be filled: the storage holds {total} in all"
        return [VmMgrError(Kind.NO_RESOURCES, message, hint=f"give a smaller size; {ALLOW}")]
    if more_bytes > room.free_bytes:
        free = size_words(room.free_bytes)
        text = f"the storage has room for {free} more; once it is full, all VMs in it are paused"
        hint = "see how full it is: ceph df, or df -h"
        env.say(Note(Level.WARNING, OVERCOMMIT, text, hint))
    return []


def tell_room(env: Env, label: str, size_bytes: int) -> None:
    """Tell, of disks whose size is that of their images, what the storage can't hold."""
    room_problems(env, label, size_bytes, more_bytes=size_bytes, allow=(OVERCOMMIT,))


def _capacity(env: Env, node: NodeName) -> NodeCapacity | None:
    try:
        return env.hypervisor_at(node).capacity()
    except VmMgrError:
        return None


def _tell_full(env: Env, full: dict[NodeName, int], start_bytes: int) -> None:
    if not any(full.values()):  # they are in standby or maintenance, and that is told elsewhere
        return
    most = max(full, key=lambda node: full[node])
    text = f"no node is known to have {size_words(start_bytes)} of memory free now: {most} has the most, "
    hint = "move or stop VMs there, give it less memory, or leave it stopped: --nostart"
    env.say(Note(Level.WARNING, "memory-short", f"{text}{size_words(full[most])}", hint))


def _too_large(found: dict[NodeName, NodeCapacity], memory_bytes: int, vcpus: int) -> list[VmMgrError]:
    """Name the largest node of what none has; nodes that each have one of both don't help either."""
    problems = []
    large = max(found, key=lambda node: found[node].memory_bytes)
    most = found[large].memory_bytes
    if memory_bytes > most:
        message = (
            f"no node has {size_words(memory_bytes)} of memory: the largest, {large}, has {size_words(most)}"
        )
        problems.append(VmMgrError(Kind.NO_RESOURCES, message, hint=f"give less memory; {ALLOW}"))
    wide = max(found, key=lambda node: found[node].cpus)
    if vcpus > found[wide].cpus:
        message = f"no node has {vcpus} CPUs: the largest, {wide}, has {found[wide].cpus}"
        problems.append(VmMgrError(Kind.NO_RESOURCES, message, hint=f"give fewer vCPUs; {ALLOW}"))
    if not problems:
        message = f"no node has both {size_words(memory_bytes)} of memory and {vcpus} CPUs"
        problems.append(VmMgrError(Kind.NO_RESOURCES, message, hint=f"give less of one; {ALLOW}"))
    return problems

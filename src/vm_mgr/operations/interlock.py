"""Prove that nobody else has a VM's disks open before the VM starts.

RBD's exclusive lock passes from writer to writer on request, so it does not stop a second QEMU: looking does.
"""

from collections.abc import Sequence

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import ClusterState, NodeName
from vm_mgr.model.storage import Holder
from vm_mgr.model.vm import VmName
from vm_mgr.ports.env import Env

__all__ = ["free_disks", "gone_nodes", "holder_node"]

# A client that died with its node counts as watching for 30 s after its placement group answers again.
PATIENCE_S = 60.0
POLL_S = 0.5


def gone_nodes(env: Env) -> frozenset[NodeName]:
    """Name the nodes that are provably dead now: fenced, or left in good order."""
    return _gone(env.cluster.state())


def free_disks(
    env: Env,
    name: VmName,
    images: Sequence[str],
    *,
    gone: frozenset[NodeName] = frozenset(),
    patience_s: float = PATIENCE_S,
) -> None:
    """Return once nobody holds the disks; shut out holders that are provably dead.

    gone names nodes that were dead a moment ago: a fenced node may be back before Ceph, which waits for the
    node's storage daemons to be missed, has told who holds the disks. Raises WRONG_STATE naming the holder's
    node when one is, or may be, alive.
    """
    deadline = env.clock.monotonic() + patience_s
    while True:
        holders = env.storage.holders(images)
        if not holders:
            return
        me, state = env.cluster.local_node(), env.cluster.state()
        gone |= _gone(state)
        alive = [holder for holder in holders if not _dead(env, name, holder, gone, me)]
        for holder in holders:
            if holder not in alive:
                env.storage.evict(holder)
        if alive and env.clock.monotonic() > deadline:
            raise _held(env, name, alive[0])
        if env.clock.monotonic() > deadline + patience_s:
            raise _held(env, name, holders[0])
        env.clock.sleep(POLL_S)


def holder_node(env: Env, holder: Holder) -> NodeName | None:
    """Name the node that a client's address belongs to."""
    return env.node_addresses.get(holder.host)


def _gone(state: ClusterState) -> frozenset[NodeName]:
    # Without fencing Pacemaker calls every lost node clean; that proves nothing.
    if not (state.quorate and state.fencing_enabled):
        return frozenset()
    return frozenset(node.name for node in state.nodes if node.gone)


def _dead(env: Env, name: VmName, holder: Holder, gone: frozenset[NodeName], me: NodeName) -> bool:
    node_name = holder_node(env, holder)
    if node_name is None:
        return False
    if node_name == me:
        return env.processes.find_vm(name) is None and not env.processes.mentions(holder.image)
    return node_name in gone


def _held(env: Env, name: VmName, holder: Holder) -> VmMgrError:
    node = holder_node(env, holder) or "an unknown machine"
    message = f"{name} is not started: its disk {holder.image} is in use on {node} ({holder.address})"
    return VmMgrError(Kind.WRONG_STATE, message, hint=f"see who has it: rbd status {holder.image}")

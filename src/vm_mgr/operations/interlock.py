"""Prove that nobody else has a VM's disks open before the VM starts.

RBD's exclusive lock passes from writer to writer on request, so it does not stop a second QEMU: looking does.
In a shared directory the locks of QEMU and of libvirt's lock manager would; looking first says why.
"""

from collections.abc import Sequence

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import ClusterState, NodeName
from vm_mgr.model.storage import GIVEN_UP_S, Holder
from vm_mgr.model.vm import VmName
from vm_mgr.ports.env import Env
from vm_mgr.ports.storage import Storage

__all__ = ["free_disks", "gone_nodes", "holder_node", "shut_out_dead"]

# A client that died with its node counts as watching for 30 s after its placement group answers again.
PATIENCE_S = 60.0
# Who was shut out is gone at once; whom Ceph or another node has to let go takes seconds.
FIRST_POLL_S, POLL_S = 0.05, 0.5
LIBVIRT_S = 5.0
RUNNING = ("running", "paused", "idle", "in shutdown", "pmsuspended")


def gone_nodes(env: Env) -> frozenset[NodeName]:
    """Name the nodes that are provably dead now: fenced, or left in good order."""
    return _gone(env.cluster.state())


def free_disks(
    env: Env,
    storage: Storage,
    name: VmName,
    images: Sequence[str],
    *,
    gone: frozenset[NodeName] = frozenset(),
    patience_s: float = PATIENCE_S,
    limit_s: float = 2 * PATIENCE_S,
) -> None:
    """Return once nobody holds the disks; shut out holders that are provably dead.

    limit_s is the caller's time: who runs out of it unheard could not say who has the disk.

    gone names nodes that were dead a moment ago: a fenced node may be back before Ceph, which waits for the
    node's storage daemons to be missed, has told who holds the disks. Raises WRONG_STATE naming the holder's
    node when one is, or may be, alive.
    """
    began, pause_s = env.clock.monotonic(), FIRST_POLL_S
    given_up: dict[Holder, float] = {}
    while True:
        holders = storage.holders(images)
        if not holders:
            return
        me, state, now = env.cluster.local_node(), env.cluster.state(), env.clock.monotonic()
        gone |= _gone(state)
        given_up = {h: given_up.get(h, now) for h in holders if _given_up(env, h, holders, state)}
        late = {one for one, since in given_up.items() if now - since >= GIVEN_UP_S}
        alive = [one for one in holders if one not in late and not _dead(env, name, one, gone, me)]
        for holder in holders:
            if holder not in alive:
                storage.evict(holder)
        waited_s = env.clock.monotonic() - began
        if alive and waited_s > min(patience_s, limit_s):
            raise _held(env, name, alive[0], state)
        if waited_s > limit_s:
            raise _held(env, name, holders[0], state)
        env.clock.sleep(pause_s)
        pause_s = min(2 * pause_s, POLL_S)


def shut_out_dead(env: Env, storage: Storage, name: VmName, images: Sequence[str]) -> list[Holder]:
    """Shut out the clients of this node that died with the VM's process, and give them.

    Only this node can prove it at once; a start on another one has to wait until the storage gives them up.
    """
    me = env.cluster.local_node()
    dead = [one for one in storage.holders(images) if _dead(env, name, one, frozenset(), me)]
    for one in dead:
        storage.evict(one)
    return dead


def holder_node(env: Env, holder: Holder) -> NodeName | None:
    """Name the node that a client's address belongs to."""
    return env.node_addresses.get(holder.host)


def _gone(state: ClusterState) -> frozenset[NodeName]:
    # Without fencing Pacemaker calls every lost node clean; that proves nothing.
    if not (state.quorate and state.fencing_enabled):
        return frozenset()
    return frozenset(node.name for node in state.nodes if node.gone)


def _given_up(env: Env, holder: Holder, holders: Sequence[Holder], state: ClusterState) -> bool:
    """Tell whether only locks are left of a client on a member, which Pacemaker knows not to run the VM.

    Who still watches one of the disks lives, and would lose them all. librbd breaks such a lock by itself,
    and shuts its owner out as we do, when it needs it.
    """
    node_name = holder_node(env, holder)
    lives = any(one.watching for one in holders if one.address == holder.address)
    return not lives and any(node.name == node_name and node.online for node in state.nodes)


def _dead(env: Env, name: VmName, holder: Holder, gone: frozenset[NodeName], me: NodeName) -> bool:
    node_name = holder_node(env, holder)
    if node_name is None:
        return False
    if node_name == me:
        return env.processes.find_vm(name) is None and not env.processes.mentions(holder.image)
    return node_name in gone


def _held(env: Env, name: VmName, holder: Holder, state: ClusterState) -> VmMgrError:
    node = holder_node(env, holder) or _running_node(env, name, state) or "an unknown machine"
    address, hint = f" ({holder.address})", f"see who has it: rbd status {holder.image}"
    if not holder.address:
        address, hint = "", f"see on each node who has it: virsh list; fuser -v on the file of {holder.image}"
    message = f"{name} is not started: its disk {holder.image} is in use on {node}{address}"
    return VmMgrError(Kind.WRONG_STATE, message, hint=hint)


def _running_node(env: Env, name: VmName, state: ClusterState) -> NodeName | None:
    """Ask every node's libvirt, where the storage doesn't tell."""
    for node in state.nodes:
        if not node.online or node.observer:
            continue
        try:
            if env.hypervisor_at(node.name).domain_state(name, timeout_s=LIBVIRT_S) in RUNNING:
                return node.name
        except VmMgrError:
            continue  # it is asked only to say more
    return None

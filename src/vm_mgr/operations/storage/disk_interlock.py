"""Prove that nobody else has a VM's disks open before the VM starts, or its disks are changed.

RBD's exclusive lock passes from writer to writer on request, so it does not stop a second QEMU: looking does.
In a shared directory the locks of QEMU and of libvirt's lock manager would; looking first says why.

One rule tells for all callers that a client of the storage is dead: it was the VM's own QEMU's, which has
ended on this node; or its node was fenced; or the storage has given it up, and with it everybody on its host.
Any other is waited for, and then named.
"""

from collections.abc import Sequence

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import ClusterState, NodeName
from vm_mgr.model.storage import GIVEN_UP_S, DiskClient
from vm_mgr.model.vm import VmName
from vm_mgr.operations.storage.fenced import fenced_nodes
from vm_mgr.operations.storage.own_clients import dead_addresses
from vm_mgr.ports.env import Env
from vm_mgr.ports.storage import Storage
from vm_mgr.reports import Progress

__all__ = [
    "OPERATION_S",
    "blocklist_dead",
    "free_disks",
    "gone_nodes",
    "held",
    "holder_node",
    "node_beside",
    "wait_free",
]

# A client that died with its node counts as watching for 30 s after its placement group answers again.
PATIENCE_S = 60.0
# A command, for which a person waits.
OPERATION_S = 35.0
# A blocklisted client is gone at once; one that Ceph or another node has to release takes seconds.
FIRST_POLL_S, POLL_S = 0.05, 0.5
LIBVIRT_S = 5.0
RUNNING = ("running", "paused", "idle", "in shutdown", "pmsuspended")


def gone_nodes(env: Env) -> frozenset[NodeName]:
    """Name the nodes that are provably dead now: fenced, and not back since."""
    return fenced_nodes(env, env.cluster.state())


def free_disks(  # noqa: PLR0913 - what callers know beforehand
    env: Env,
    storage: Storage,
    name: VmName,
    images: Sequence[str],
    *,
    gone: frozenset[NodeName] = frozenset(),
    patience_s: float = PATIENCE_S,
    limit_s: float = 2 * PATIENCE_S,
    refusal: str = "not started",
) -> None:
    """Return once nobody holds the disks; blocklist those that are provably dead, if no other is left.

    limit_s is the caller's time: who runs out of it unheard could not say who has the disk.

    gone names nodes that were dead a moment ago: a fenced node may be back before Ceph, which waits for the
    node's storage daemons to be missed, has told who holds the disks. Raises WRONG_STATE naming the holder's
    node when one is, or may be, alive; refusal says what the VM then is.
    """
    holder = wait_free(env, storage, name, images, gone=gone, patience_s=patience_s, limit_s=limit_s)
    if holder is not None:
        elsewhere = None if holder_node(env, holder) else node_beside(env, name)
        raise held(env, name, holder, refusal, elsewhere=elsewhere)


def wait_free(
    env: Env,
    storage: Storage,
    name: VmName,
    images: Sequence[str],
    *,
    gone: frozenset[NodeName] = frozenset(),
    patience_s: float = PATIENCE_S,
    limit_s: float = 2 * PATIENCE_S,
) -> DiskClient | None:
    """Do what free_disks does, but give the holder that stays.

    A client of which only a lock is left is looked at for as long as that takes to be judged.
    """
    began, pause_s = env.clock.monotonic(), FIRST_POLL_S
    judge = _Judge(env, name, gone)
    while True:
        holders = storage.clients.of(images)
        if not holders:
            return None
        alive = judge.alive(holders)
        if not alive:
            for one in holders:
                storage.clients.evict(one)
        waited_s = env.clock.monotonic() - began
        watched = any(one.watching for one in alive)
        enough_s = patience_s if watched else max(patience_s, judge.began_s(alive) - began + GIVEN_UP_S + 1)
        if alive and waited_s > min(enough_s, limit_s):
            return next((one for one in alive if one.watching), alive[0])
        if waited_s > limit_s:
            return holders[0]
        env.say(Progress(f"waiting for who has {(alive or holders)[0].image} open"))
        env.clock.sleep(pause_s)
        pause_s = min(2 * pause_s, POLL_S)


def blocklist_dead(env: Env, storage: Storage, name: VmName, images: Sequence[str]) -> list[DiskClient]:
    """Shut out the clients that died with the VM's own QEMU on this node, and give them.

    Only this node can prove it at once; a start on another one has to wait until the storage gives them up.
    """
    own = dead_addresses(env, name)
    dead = [one for one in storage.clients.of(images) if one.address in own] if own else []
    for one in dead:
        storage.clients.evict(one)
    return dead


def holder_node(env: Env, holder: DiskClient) -> NodeName | None:
    """Name the node that a client's address belongs to."""
    return env.node_addresses.get(holder.host)


def held(
    env: Env, name: str, holder: DiskClient, refusal: str, *, elsewhere: NodeName | None = None
) -> VmMgrError:
    """Say who has a disk; elsewhere: where the VM runs, should the storage not tell whose client it is."""
    node = holder_node(env, holder)
    where = node or elsewhere or "an unknown machine"
    address, hint = f" ({holder.address})", f"see who has it: rbd status {holder.image}"
    if not holder.address:
        address, hint = "", f"see on each node who has it: virsh list; fuser -v on the file of {holder.image}"
    elif node is not None and node == env.cluster.local_node():
        pids = env.processes.mentions(holder.image)
        hint = f"it may be process {pids[0]}: ps {pids[0]}" if pids else hint
    message = f"{name} is {refusal}: its disk {holder.image} is in use on {where}{address}"
    return VmMgrError(Kind.WRONG_STATE, message, hint=hint)


class _Judge:
    """The one rule; it remembers since when the storage has given up whom."""

    def __init__(self, env: Env, name: VmName, gone: frozenset[NodeName]) -> None:
        self.env = env
        self.name = name
        self.gone = gone
        self.given_up: dict[DiskClient, float] = {}

    def alive(self, holders: Sequence[DiskClient]) -> list[DiskClient]:
        """Give those of all holders of a VM's disks that are, or may be, alive."""
        now, state = self.env.clock.monotonic(), self.env.cluster.state()
        self.gone |= fenced_nodes(self.env, state)
        own = dead_addresses(self.env, self.name)
        hosts = {one.host for one in holders if one.watching}
        silent = [one for one in holders if one.host not in hosts and not self._is_in_doubt(one, state)]
        self.given_up = {one: self.given_up.get(one, now) for one in silent}
        late = {one for one, since in self.given_up.items() if now - since >= GIVEN_UP_S}
        return [one for one in holders if not (one.address in own or one in late or self._is_fenced(one))]

    def began_s(self, holders: Sequence[DiskClient]) -> float:
        """Tell since when the last of these has been looked at."""
        return max((self.given_up[one] for one in holders if one in self.given_up), default=float("-inf"))

    def _is_fenced(self, holder: DiskClient) -> bool:
        return holder_node(self.env, holder) in self.gone

    def _is_in_doubt(self, holder: DiskClient, state: ClusterState) -> bool:
        """Tell a client of a node that is about to be fenced, or joins: soon more is known of it."""
        node = state.node(holder_node(self.env, holder) or "")
        return node is not None and (node.unclean or node.pending)


def node_beside(env: Env, name: VmName) -> NodeName | None:
    """Name the node whose libvirt runs a VM that the cluster does not run there; each is asked."""
    for node in env.cluster.state().nodes:
        if not node.online or node.observer:
            continue
        try:
            if env.hypervisor_at(node.name).domain_state(name, timeout_s=LIBVIRT_S) in RUNNING:
                return node.name
        except VmMgrError:
            continue  # it is asked only to say more
    return None

"""Prove that a node is dead: Pacemaker has cut it off after it was lost, and it has not been back since.

That a node left in good order proves nothing: its services may have been stopped for an update, and what
somebody has started there by hand runs on (docs/design/0008-storage-of-a-fenced-node.md).
"""

from typing import NamedTuple

from vm_mgr.errors import Kind, UnknownNameError, VmMgrError
from vm_mgr.model.cluster import ClusterState, Fencing, NodeName
from vm_mgr.ports.env import Env

__all__ = ["NEVER", "RECENT_S", "Proof", "fenced_nodes", "proof"]

# After this time the storage has found out by itself, and the machine may be up again without the cluster.
RECENT_S = 600.0
NEVER = "without fencing nothing is taken away from a node: it may be alive"


class Proof(NamedTuple):
    """When a node was fenced, in seconds since 1970; by_hand: a person has confirmed it, no device."""

    fenced_utc: float
    by_hand: bool = False


def proof(env: Env, state: ClusterState, node: NodeName) -> Proof:
    """Give the proof; raises WRONG_STATE with the reason where there is none, NOT_FOUND for no such node."""
    if not state.fencing_enabled:
        raise VmMgrError(Kind.WRONG_STATE, f"{node}: fencing is disabled", hint=NEVER)
    if not state.quorate:
        hint = "see: corosync-quorumtool -s"
        raise VmMgrError(Kind.WRONG_STATE, f"{node}: this part of the cluster has no quorum", hint=hint)
    seen = state.node(node)
    if seen is None:
        known = [one.name for one in state.nodes]
        hint = f"there are: {', '.join(known)}"
        raise UnknownNameError(f"the cluster has no node {node}", node, known, hint=hint)
    if not seen.gone:
        word = "not fenced yet" if seen.unclean else "joining" if seen.pending else "online"
        raise VmMgrError(Kind.WRONG_STATE, f"{node} is {word}: nothing of it is released", hint=NEVER)
    last = _last_fencing(env, state, node)
    if last is None:
        minutes = f"{RECENT_S / 60:.0f} minutes"
        message = f"Pacemaker has not fenced {node} in the last {minutes}: it may only have left the cluster"
        hint = (
            f"if that was earlier, Ceph has found out: ceph -s; see: stonith_admin --history {node}; "
            f"if it was not fenced and has no power: stonith_admin --confirm {node}"
        )
        raise VmMgrError(Kind.WRONG_STATE, message, hint=hint)
    if env.cluster.remembers(node):
        message = f"{node} was back after it was fenced, and has left the cluster in good order: it may run"
        hint = f"if it has no power: stonith_admin --confirm {node}"
        raise VmMgrError(Kind.WRONG_STATE, message, hint=hint)
    return Proof(last.completed_utc or 0.0, last.by_hand)


def fenced_nodes(env: Env, state: ClusterState) -> frozenset[NodeName]:
    """Name the nodes that are provably dead now."""
    return frozenset(node.name for node in state.nodes if node.gone and _is_proven(env, state, node.name))


def _is_proven(env: Env, state: ClusterState, node: NodeName) -> bool:
    try:
        proof(env, state, node)
    except VmMgrError as error:
        if error.kind is not Kind.WRONG_STATE:
            raise
        return False
    return True


def _last_fencing(env: Env, state: ClusterState, node: NodeName) -> Fencing | None:
    now_utc = env.clock.utc()
    recent = [
        (when, one)
        for one in state.fencings
        if one.node == node and one.fences and (when := one.completed_utc) is not None
        # Who has fenced it has another clock: a time that lies far ahead proves no more than one long ago.
        if abs(now_utc - when) <= RECENT_S
    ]
    return max(recent, key=lambda pair: pair[0])[1] if recent else None

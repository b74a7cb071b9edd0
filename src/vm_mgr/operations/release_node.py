"""Tell the storage at once that a node which Pacemaker has fenced is dead.

Without a proof from Pacemaker nothing is told (docs/design/0008-storage-of-a-fenced-node.md).
"""

from typing import NamedTuple

from vm_mgr.errors import Kind, UnknownNameError, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.event import Event, EventKind
from vm_mgr.operations.storage.fenced import RECENT_S, Proof, proof
from vm_mgr.operations.support.stopwatch import Stopwatch
from vm_mgr.ports.env import Env
from vm_mgr.ports.storage_fencing import Daemons

__all__ = ["RECENT_S", "Released", "release_node"]

POLL_S = 0.1


class Released(NamedTuple):
    """What the storage was told: the numbers of daemons, and the addresses of clients."""

    node: NodeName
    daemons: tuple[int, ...] = ()
    clients: tuple[str, ...] = ()


def release_node(env: Env, node: NodeName, *, wait_s: float = 0.0) -> Released:
    """End a fenced node's storage daemons, then shut its clients out and break their locks; repeatable.

    wait_s: how long the cluster may take to know what it has just announced. Raises WRONG_STATE, with the
    reason, for a node that isn't proven dead or is running again; NOT_SUPPORTED where no storage needs it.
    """
    lost = env.storage_fencing
    addresses = _addresses(env, node)
    waits = Stopwatch(env.clock)
    found = _wait_proof(env, node, wait_s)
    waits.end("proof")
    daemons = lost.daemons(node, addresses)
    _require_old(env, daemons, node, found.fenced_utc)
    if daemons.numbers:
        lost.end_daemons(daemons.numbers, certain=not found.by_hand)
    waits.end("daemons")
    # What follows may have had to wait for placement groups that just lost a daemon.
    clients = lost.clients(addresses)
    if clients:
        _wait_proof(env, node, 0)
        _require_old(env, lost.daemons(node, addresses), node, found.fenced_utc)
        lost.blocklist(clients)
    waits.end("clients")
    released = Released(node, daemons.numbers, tuple(sorted({one.address for one in clients})))
    detail = (
        f"{_count(released.daemons, 'OSD')} marked down, {_count(released.clients, 'client')} blocklisted"
    )
    env.journal.record(
        Event(env.clock.utc(), EventKind.RELEASED, node, detail=detail, waited=waits.milliseconds)
    )
    return released


def _addresses(env: Env, node: NodeName) -> frozenset[str]:
    found = frozenset(address for address, owner in env.node_addresses.items() if owner == node)
    if not found and (state := env.cluster.state()).node(node) is None:
        message, known = f"the cluster has no node {node!r}", (one.name for one in state.nodes)
        raise UnknownNameError(message, node, known, hint="see them: crm_mon -1")
    if not found:
        hint = "add it to the table [nodes] in /etc/vm-mgr/vm-mgr.toml"
        raise VmMgrError(Kind.NOT_FOUND, f"no address of {node} is known", hint=hint)
    return found


def _wait_proof(env: Env, node: NodeName, wait_s: float) -> Proof:
    """Prove that the node was fenced; what the cluster may not know yet is asked again."""
    deadline = env.clock.monotonic() + wait_s
    while True:
        try:
            return proof(env, env.cluster.state(), node)
        except VmMgrError as error:
            if error.kind is not Kind.WRONG_STATE or env.clock.monotonic() >= deadline:
                raise
        env.clock.sleep(POLL_S)


def _require_old(env: Env, daemons: Daemons, node: NodeName, fenced_utc: float) -> None:
    """Raise where one has come up since.

    Who has looked when the node was lost knows that without a clock. Else the storage's time is compared with
    that of who has fenced the node, which is right as far as their clocks are.
    """
    newest, came_up = daemons.newest_boot_utc, env.storage_fencing.came_up(daemons.numbers)
    if came_up is None:
        came_up = newest is not None and newest >= fenced_utc
    if came_up:
        message = f"{node} is running again: one of its OSDs came up after the node was fenced"
        hint = "nothing is to be done: Ceph counts its daemons and clients as new ones"
        raise VmMgrError(Kind.WRONG_STATE, message, hint=hint)


def _count(things: tuple[object, ...], word: str) -> str:
    """Count things.

    >>> _count((1,), "client"), _count((), "OSD")
    ('1 client', '0 OSDs')
    """
    return f"{len(things)} {word}" + ("" if len(things) == 1 else "s")

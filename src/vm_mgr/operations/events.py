"""Tell what happened to nodes and VMs, and how failovers went."""

from typing import NamedTuple

from vm_mgr.errors import VmMgrError, raise_all
from vm_mgr.model.event import Event
from vm_mgr.model.failover import Failover, distinct, failovers
from vm_mgr.model.vm import VmName
from vm_mgr.operations.support.preconditions import quorum_problems, require_defined
from vm_mgr.ports.env import Env

__all__ = ["Told", "events"]


class Told(NamedTuple):
    """What happened, the oldest first, and what of it were failovers."""

    events: list[Event]
    failovers: list[Failover]


def events(env: Env, name: str = "", *, since_s: float) -> Told:
    """Read what was kept in the last since_s seconds; of one VM, or of one node, if it is named.

    Raises NOT_FOUND for a name that nothing has and of which nothing was kept: a removed VM has its events.
    """
    since_utc = env.clock.utc() - since_s
    known = _read(env)
    found = distinct(known)
    if name:
        found = [one for one in found if name == one.subject or name in one.vms]
    if name and not found:
        _require_known(env, name)
    found = [one for one in found if one.when_utc >= since_utc]
    # A VM's place before a loss may have been seen long ago, so all is looked at.
    recent = [one for one in failovers(known) if one.began_utc >= since_utc]
    return Told(found, [one for one in recent if not name or _concerns(one, name)])


def _read(env: Env) -> list[Event]:
    """Read all; who can't is told where each node has its own."""
    try:
        raise_all(quorum_problems(env.cluster.state()))
        return list(env.event_log.read())
    except VmMgrError as error:
        error.hint = "; ".join(filter(None, (error.hint, "this node's own events: journalctl -t vm-mgr")))
        raise


def _require_known(env: Env, name: str) -> None:
    state = env.cluster.state()
    if state.node(name) is None and name not in state.resources:
        require_defined(env, VmName(name))


def _concerns(failover: Failover, name: str) -> bool:
    back = {one.vm for one in failover.recoveries}
    return name == failover.node or name in back or name in failover.unseen

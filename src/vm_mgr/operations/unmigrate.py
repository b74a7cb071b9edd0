"""Remove the constraints that moves left at a VM; a live migration that goes on by one is cancelled."""

from collections.abc import Sequence

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.vm import VmName
from vm_mgr.operations.migration.cancel import abort, cancel_move, remaining_effects
from vm_mgr.operations.support.locking import asked, locked_if_reachable
from vm_mgr.operations.support.preconditions import quorum_problems, resource_of
from vm_mgr.operations.support.vm_state import derive_status
from vm_mgr.ports.cluster import Constraint
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["unmigrate"]


def unmigrate(env: Env, name: VmName) -> Sequence[Constraint]:
    """Remove those of every tool, keep all others, and give what was removed.

    A live migration is aborted before its constraint goes, which would end it in a stop and a start; raises
    TRY_LATER where that fails. It is aborted first of all: so ends another command that waits for the move.
    """
    source = _leaving(env, name)
    if source:
        asked(env, name, "unmigrate")
        abort(env, name, source)
    with locked_if_reachable(env, name):
        source = _leaving(env, name) or source
        left = [one for one in env.cluster.configured(name).others if one.leftover]
        if source or left:
            asked(env, name, "unmigrate")
        if source and not cancel_move(env, name, source):
            raise _on_its_way(name, "can't be cancelled any more")
        removed = env.cluster.clear_moves(name)
        if source:
            _tell(env, name, source)
        return tuple(dict.fromkeys((*left, *removed)))


def _leaving(env: Env, name: VmName) -> NodeName | None:
    """Name the node that a VM leaves because of a constraint; none where the cluster moves it by itself.

    Raises TRY_LATER where both are so: the cluster would begin anew, or stop it where the node shuts down.
    """
    state = env.cluster.state()
    raise_all(quorum_problems(state))
    seen = derive_status(resource_of(env, state, name), state)
    asked = any(one.leftover for one in env.cluster.configured(name).others)
    node = state.node(seen.node)
    if not seen.moving or not asked or node is None:
        return None
    if not node.can_host:
        raise _on_its_way(name, f"has to leave {node.name}, which can't run VMs now")
    return node.name


def _on_its_way(name: VmName, why: str) -> VmMgrError:
    hint = f"wait until it has arrived: vm-mgr status {name}"
    return VmMgrError(Kind.TRY_LATER, f"{name} is on its way and {why}", hint=hint)


def _tell(env: Env, name: VmName, source: NodeName) -> None:
    told = remaining_effects(env, name, source, "where the cluster places it")
    if told:
        env.say(Note(Level.WARNING, "goes-on", told, f"see: vm-mgr status {name}"))
    else:
        text = f"the move of {name} is cancelled: it runs on {source} as before"
        env.say(Note(Level.INFO, "called-off", text))

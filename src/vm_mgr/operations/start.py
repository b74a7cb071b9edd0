"""Start a VM."""

from vm_mgr.errors import raise_all
from vm_mgr.model.cluster import ClusterState, NodeName, Resource
from vm_mgr.model.vm import TargetRole, VmName, VmState, VmStatus
from vm_mgr.operations.lifecycle.waiting import wait_started
from vm_mgr.operations.migration.blocked import release_blocked
from vm_mgr.operations.status import status
from vm_mgr.operations.storage.overlay import clear, noted_problems
from vm_mgr.operations.support.locking import asked, locked
from vm_mgr.operations.support.preconditions import require_ready, resource_of, warn_without_fencing
from vm_mgr.operations.support.requirements import renew_requirements
from vm_mgr.operations.support.vm_state import derive_status
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["start"]


def start(env: Env, name: VmName, *, allow_lost_writes: bool = False) -> VmStatus:
    """Ask for the VM to run, forget earlier failures, wait until it runs.

    Of one that runs they are forgotten, too: they keep it off the nodes where it has failed.
    allow_lost_writes: boot it from its stored disks even where it has last written elsewhere.
    """
    with locked(env, name):
        state = require_ready(env, "start", name)
        resource = resource_of(env, state, name)
        warn_without_fencing(env, state)
        seen = derive_status(resource, state)
        if seen.state is not VmState.STARTED:
            asked(env, name, "start")
        if resource.blocked_on:
            release_blocked(env, resource)
            return status(env, name)
        if seen.state is VmState.STARTED:
            if not _forget_failures(env, state, resource):
                return seen
            return wait_started(env, name)
        if allow_lost_writes:
            clear(env, name)
        elif not resource.active:
            raise_all(noted_problems(env, name))
        if resource.failed or resource.banned_by_failures or resource.last_failure:
            env.cluster.cleanup(name)
        if not resource.active:
            renew_requirements(env, name)
        env.cluster.set_target_role(name, TargetRole.STARTED)
    return wait_started(env, name)


def _forget_failures(env: Env, state: ClusterState, resource: Resource) -> bool:
    """Clear one failure after the other, and tell them; gives whether there were any.

    Not of a move: by what is left of its history Pacemaker would restart the VM. Not on a node that leaves:
    it could go before it was looked at anew.
    """
    leaving = {node.name for node in state.nodes if node.shutting_down}
    found = [one for one in resource.failures if one.task in ("start", "monitor") and one.node not in leaving]
    for one in found:
        env.cluster.cleanup_failed(VmName(resource.name), NodeName(one.node), one.task, one.interval_ms)
        env.say(Note(Level.INFO, "failure-forgotten", f"forgotten: {one.text}"))
    return bool(found)

"""Start a VM."""

from vm_mgr.errors import raise_all
from vm_mgr.model.vm import TargetRole, VmName, VmState, VmStatus
from vm_mgr.operations.lifecycle.waiting import wait_started
from vm_mgr.operations.migration.blocked import release_blocked
from vm_mgr.operations.status import status
from vm_mgr.operations.storage.overlay import clear, noted_problems
from vm_mgr.operations.support.locking import locked
from vm_mgr.operations.support.preconditions import require_ready, resource_of, warn_without_fencing
from vm_mgr.operations.support.requirements import renew_requirements
from vm_mgr.operations.support.vm_state import derive_status
from vm_mgr.ports.env import Env

__all__ = ["start"]


def start(env: Env, name: VmName, *, allow_lost_writes: bool = False) -> VmStatus:
    """Ask for the VM to run, forget earlier failures, wait until it runs.

    allow_lost_writes: boot it from its stored disks even where it has last written elsewhere.
    """
    with locked(env, name):
        state = require_ready(env, "start", name)
        resource = resource_of(env, state, name)
        warn_without_fencing(env, state)
        if resource.blocked_on:
            release_blocked(env, resource)
            return status(env, name)
        seen = derive_status(resource, state)
        if seen.state is VmState.STARTED:
            return seen
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

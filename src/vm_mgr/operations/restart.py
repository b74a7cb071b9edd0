"""Stop a VM and start it again."""

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.intent import Intent
from vm_mgr.model.vm import TargetRole, VmName, VmStatus
from vm_mgr.operations.disable import halt
from vm_mgr.operations.lifecycle.waiting import wait_started
from vm_mgr.operations.storage.overlay import overlay_problems
from vm_mgr.operations.support.locking import locked, with_intent
from vm_mgr.operations.support.preconditions import require_ready, resource_of
from vm_mgr.operations.support.removal import warn_of_followers
from vm_mgr.operations.support.requirements import renew_requirements
from vm_mgr.ports.env import Env

__all__ = ["recover", "restart"]


def restart(env: Env, name: VmName) -> VmStatus:
    """Shut the guest down and start it; what was changed in the definition takes effect."""
    with locked(env, name):
        state = require_ready(env, "restart", name)
        resource = resource_of(env, state, name)
        if not resource.active:
            hint = f"start it: vm-mgr start {name}"
            raise VmMgrError(Kind.WRONG_STATE, f"{name} does not run", hint=hint)
        raise_all(overlay_problems(env, state, name))
        warn_of_followers(env, resource)
        with with_intent(env, name, "restart"):
            halt(env, name)
            renew_requirements(env, name)
            env.cluster.set_target_role(name, TargetRole.STARTED)
    return wait_started(env, name)


def recover(env: Env, name: VmName, intent: Intent) -> None:  # noqa: ARG001 - a VM that ran is to run again
    """Ask for it to run again."""
    if name in env.cluster.state().resources:
        env.cluster.set_target_role(name, TargetRole.STARTED)

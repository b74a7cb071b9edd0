"""Take a VM's disks back to a snapshot."""

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.intent import Intent
from vm_mgr.model.vm import TargetRole, VmName, VmStatus
from vm_mgr.operations.disable import halt, role_of
from vm_mgr.operations.lifecycle.saved_memory import discard
from vm_mgr.operations.lifecycle.waiting import wait_started
from vm_mgr.operations.remove_snapshot import find
from vm_mgr.operations.status import status
from vm_mgr.operations.storage.free import require_free
from vm_mgr.operations.storage.overlay import disk_problems
from vm_mgr.operations.support.locking import REFUSALS, Step, locked, with_intent
from vm_mgr.operations.support.preconditions import require_defined, require_ready
from vm_mgr.operations.support.removal import warn_of_followers
from vm_mgr.ports.env import Env

__all__ = ["recover", "rollback"]

STOPPING = "stopping"
ROLLING = "rolling"  # no start is allowed: the disks may be those of no instant
STARTING = "starting"
REFUSAL = "not rolled back"


def rollback(env: Env, name: VmName, snapshot: str) -> VmStatus:
    """Stop the VM if it runs, take all its disks back, and start it again if it ran."""
    with locked(env, name):
        was = role_of(env.cluster.state().resources.get(name))
        state = require_ready(env, "rollback", name, starts=was == TargetRole.STARTED.value)
        require_defined(env, name)
        find(env, name, snapshot)
        raise_all(disk_problems(env, state, name))
        warn_of_followers(env, state.resources.get(name))
        with with_intent(env, name, "rollback", snapshot=snapshot, was=was, phase=STOPPING) as step:
            if was:
                halt(env, name)
            require_free(env, name, REFUSAL)
            step.now(ROLLING)
            try:
                _roll(step)
            except VmMgrError as error:
                if error.kind in REFUSALS and step.intent.details["phase"] == ROLLING:
                    step.now(STOPPING)  # nothing was changed, and nothing is to be changed later
                raise
            _start(step)
    return wait_started(env, name) if was == TargetRole.STARTED.value else status(env, name)


def recover(env: Env, name: VmName, intent: Intent) -> bool:
    """Finish once disks may have been taken back; before and after that let the VM run, if it was to run."""
    step = Step(env, name, intent)
    if intent.details["phase"] == ROLLING:
        require_free(env, name, REFUSAL)
        _roll(step)
    _start(step)
    return step.intent.details["phase"] == STARTING


def takes_long(intent: Intent) -> bool:
    """Tell whether disks are being taken back."""
    return intent.details["phase"] == ROLLING


def _roll(step: Step) -> None:
    """Take the disks back; where it is refused not one of them was touched."""
    env, name = step.env, step.name
    resource = env.cluster.state().resources.get(name)
    if resource is not None and resource.active:
        hint = f"stop it first: vm-mgr stop {name}"
        raise VmMgrError(
            Kind.WRONG_STATE, f"{name} was started while its disks were to be taken back", hint=hint
        )
    discard(env, name)
    env.storage.snapshots.roll_back(name, step.intent.details["snapshot"])
    step.now(STARTING)


def _start(step: Step) -> None:
    """Let it run if it was to run; starts that were refused meanwhile keep it from no node."""
    env, name, was = step.env, step.name, step.intent.details["was"]
    resource = env.cluster.state().resources.get(name)
    if not was or resource is None:
        return
    if step.intent.details["phase"] == STARTING and (resource.failed or resource.banned_by_failures):
        env.cluster.cleanup(name)
    env.cluster.set_target_role(name, TargetRole(was))

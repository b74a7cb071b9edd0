"""Remove a VM with its disks."""

from contextlib import ExitStack, suppress

from vm_mgr.errors import ProgramError, VmMgrError, raise_all
from vm_mgr.interruption import current
from vm_mgr.model.intent import Intent
from vm_mgr.model.vm import TargetRole, VmName, VmState, VmStatus
from vm_mgr.operations.disable import OURS, halt, role_of
from vm_mgr.operations.storage.free import require_free
from vm_mgr.operations.storage.overlay import warn
from vm_mgr.operations.support.locking import lock, recover_others, with_intent
from vm_mgr.operations.support.preconditions import no_vm, require_ready
from vm_mgr.operations.support.removal import clone_problems, removal_problems
from vm_mgr.ports.cluster import PATTERN
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["recover", "remove"]

DELETING = "deleting"


def remove(env: Env, name: VmName) -> VmStatus:
    """Stop the VM, take it out of the cluster, delete its disks and what an unfinished operation left."""
    require_ready(env, "remove", name)
    with lock(env, name):
        current.at(name)
        _settle_elsewhere(env, name)
        state = require_ready(env, "remove", name)
        resource = state.resources.get(name)
        enabled = resource is not None and resource.is_vm
        left = name in env.intent_log.intents()
        problems = []
        if not (enabled or left or env.storage.definitions.exists(name)):
            problems.append(no_vm(env, name))
        problems += clone_problems(env, name) + removal_problems(env, resource, "not removed")
        raise_all(problems)
        warn(env, state, name)
        _tell_gone(env, name)
        with with_intent(env, name, "remove", was=role_of(resource), phase="stopping") as step:
            if enabled:
                halt(env, name)
            with suppress(ProgramError):  # a disk that is damaged is removed too
                require_free(env, name, "not removed")
            step.now(DELETING)
            _delete(env, name)
    return VmStatus(name, VmState.UNDEFINED)


def recover(env: Env, name: VmName, intent: Intent) -> bool:
    """Finish a removal that has begun to delete; before that let the VM run again, if it was to run."""
    if intent.details.get("phase") == DELETING:
        _delete(env, name)
        return True
    if intent.details["was"] and name in env.cluster.state().resources:
        env.cluster.set_target_role(name, TargetRole(intent.details["was"]))
    return False


def takes_long(intent: Intent) -> bool:
    """Tell whether disks are being deleted."""
    return intent.details.get("phase") == DELETING


def _tell_gone(env: Env, name: VmName) -> None:
    """Name what others have tied to the VM, and goes with it."""
    found = [
        one for one in env.cluster.configured(name).others if not (one.leftover or one.id.startswith(OURS))
    ]
    stay = [f"{one.id} ({one.text})" for one in found if one.kind == PATTERN]
    go = [f"{one.id} ({one.text})" for one in found if one.kind != PATTERN]
    if stay:
        text = f"not removed with {name}, since other resources may match: {', '.join(stay)}"
        env.say(Note(Level.INFO, "stays", text, "remove it by hand: crm configure delete ID; pcs constraint"))
    if go:
        text = f"with {name} go: {', '.join(go)}"
        env.say(Note(Level.WARNING, "goes-too", text, f"to keep them, and the disks: vm-mgr disable {name}"))


def _settle_elsewhere(env: Env, name: VmName) -> None:
    """Recover what an unfinished operation left at other VMs; its intent, which is about to go, knows them.

    A failure doesn't keep the VM from being removed: there must always be a way out.
    """
    intent = env.intent_log.intents().get(name)
    if intent is None:
        return
    others = sorted(intent.names - {name})
    try:
        with ExitStack() as claims:
            for other in others:
                claims.enter_context(lock(env, other))
            recover_others(env, name, intent)
    except VmMgrError as error:
        text = f"what {intent.verb} of {name} left at {', '.join(others)} stays: {error.message}"
        hint = f"look at it: vm-mgr status {others[0]}; vm-mgr list-snapshots {others[0]}"
        env.say(Note(Level.WARNING, "unfinished", text, hint))


def _delete(env: Env, name: VmName) -> None:
    resource = env.cluster.state().resources.get(name)
    if resource is not None and resource.is_vm:
        env.cluster.remove(name)
    env.storage.remove(name)

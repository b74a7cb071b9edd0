"""Say what is true after an interruption: by what was noted of the command, and by a look."""

from typing import NamedTuple

from vm_mgr.errors import SignalError, VmMgrError
from vm_mgr.interruption import Interruption
from vm_mgr.model.cluster import ClusterState, Resource
from vm_mgr.model.intent import Intent
from vm_mgr.model.vm import TargetRole, VmName, VmState
from vm_mgr.operations.support.vm_state import derive_status
from vm_mgr.ports.env import Env

__all__ = ["say_what_is_true"]

# A drain may be at many VMs; the others are in its own reports.
MOST = 5


class _Truth(NamedTuple):
    """What a VM is now, and how that is taken back or finished."""

    text: str
    hint: str = ""


def say_what_is_true(env: Env, error: SignalError, noted: Interruption) -> None:
    """Add to the error what the VMs are now that the command was at."""
    names = [VmName(name) for name in noted.names]
    if not names:
        return
    try:
        state, intents = env.cluster.state(), dict(env.intent_log.intents())
    except VmMgrError as unseen:
        hint = f"vm-mgr status {names[0]}; vm-mgr repair"
        error.add(f"what {', '.join(names[:MOST])} is now is not known: {unseen.message}", hint=hint)
        return
    for name in names[-MOST:]:
        try:
            truth = _truth(env, state, intents, name)
        except VmMgrError as unseen:
            truth = _Truth(f"what {name} is now is not known: {unseen.message}", f"vm-mgr status {name}")
        error.add(truth.text, hint=truth.hint)
        if name in noted.halted and _is_to_run(state.resources.get(name)):
            error.add(f"the guest of {name} was shut down, or is, and boots again")


def _truth(env: Env, state: ClusterState, intents: dict[VmName, Intent], name: VmName) -> _Truth:
    resource = state.resources.get(name)
    if resource is None or not resource.is_vm:
        left = f", and {intents[name].verb} is unfinished" if name in intents else ""
        hint = "finish it: vm-mgr repair" if left else ""
        known = env.storage.definitions.exists(name)
        return _Truth(f"{name} is Disabled{left}" if known else f"there is no VM {name}{left}", hint)
    truth = _Truth(*_of_resource(resource, state))
    if name in intents:
        return truth._replace(hint="finish what is unfinished: vm-mgr repair")
    return truth


def _of_resource(resource: Resource, state: ClusterState) -> tuple[str, str]:
    """Say what the cluster makes of it."""
    name, seen = resource.name, derive_status(resource, state)
    where = f" on {seen.node}" if seen.node else ""
    detail = f" ({seen.detail})" if seen.detail else ""
    if _is_to_stop(resource):
        undo = f"vm-mgr start {name}"
        if resource.active:
            return f"{name} is being stopped, and stays Stopped", f"take it back: {undo}"
        return f"{name} is Stopped", f"start it: {undo}"
    if seen.state is VmState.STARTED:
        return f"{name} runs{where}{detail}", ""
    if seen.state is VmState.STOPPING:
        return f"{name} is being stopped{where}, and is started again", f"take it back: vm-mgr stop {name}"
    if seen.state is VmState.STARTING:
        return f"{name} is being started{where}{detail}", f"take it back: vm-mgr stop {name}"
    hint = f"it is still to run; take it back: vm-mgr stop {name}"
    return f"{name} is {seen.state.value}{where}{detail}", hint


def _is_to_run(resource: Resource | None) -> bool:
    return resource is not None and not _is_to_stop(resource)


def _is_to_stop(resource: Resource) -> bool:
    return resource.target_role == TargetRole.STOPPED.value

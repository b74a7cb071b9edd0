"""See to the saved memory of a VM, which fits its disks only as they were when it was saved."""

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.saved_state import SavedState
from vm_mgr.model.vm import VmName, VmState, VmStatus
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["describe", "discard", "saved_problems", "with_saved"]


def saved_problems(env: Env, name: VmName) -> list[VmMgrError]:
    """Refuse to change disks, or the name, of a VM whose next start resumes its memory."""
    state = env.storage.saved_memory.of(name)
    if state is None or not state.resumable:
        return []
    hint = f"resume it first: vm-mgr start {name}; or give its memory up: vm-mgr stop --force {name}"
    message = f"the memory of {name} is saved, and fits its disks only as they are"
    return [VmMgrError(Kind.WRONG_STATE, message, hint=hint)]


def discard(env: Env, name: VmName) -> None:
    """Have the next start boot the VM; one without saved memory is fine."""
    state = env.storage.saved_memory.of(name)
    if state is None:
        return
    env.storage.saved_memory.delete(name)
    if state.resumable:
        text = f"the memory of {name}, saved on {state.node}, is given up: it will boot, as after a power cut"
        env.say(Note(Level.WARNING, "memory-given-up", text))


def with_saved(env: Env, seen: VmStatus) -> VmStatus:
    """Say of a VM that does not run that its memory is saved; a storage that is silent is told of."""
    if seen.state in (VmState.STARTED, VmState.UNDEFINED, VmState.UNKNOWN):
        return seen
    try:
        state = env.storage.saved_memory.of(seen.name)
    except VmMgrError as error:
        text = f"whether the memory of {seen.name} is saved can't be seen: {error.message}"
        env.say(Note(Level.WARNING, "not-seen", text, error.hint))
        return seen
    told = describe(state) if state is not None else ""
    return seen._replace(detail="; ".join(filter(None, (seen.detail, told))))


def describe(state: SavedState) -> str:
    """Say what there is, in a few words."""
    if state.resumable:
        return f"memory saved on {state.node}, resumed at its next start"
    return "resuming its saved memory" if state.consumed else "saving its memory"

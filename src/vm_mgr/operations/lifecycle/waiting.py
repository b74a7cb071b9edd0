"""Wait for the cluster to bring a VM where it was asked to be."""

from collections.abc import Callable

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName, VmSettings, VmState, VmStatus
from vm_mgr.operations.status import status
from vm_mgr.operations.support.bars import with_bars
from vm_mgr.operations.support.preconditions import fencing_hint
from vm_mgr.ports.env import Env
from vm_mgr.reports import Progress

__all__ = ["SETTLED_LOOKS", "await_state", "known_settings", "wait", "wait_started", "wait_stopped"]

POLL_S = 0.25
MARGIN_S = 30.0
# A failure that Pacemaker reports may be one that it is about to recover from, on this or another node.
SETTLED_LOOKS = 24
# For how many looks the cluster may not have begun to start a VM until the scheduler is asked why.
BARRED_LOOKS = 12


def wait(env: Env, name: VmName, step: str, done: Callable[[VmStatus], bool], timeout_s: float) -> VmStatus:
    """Look until done, failed for good, barred from all nodes, or out of time; returns the last look."""
    deadline = env.clock.monotonic() + timeout_s
    failed_looks = barred_looks = 0
    while True:
        seen = status(env, name)
        failed_looks = failed_looks + 1 if seen.state is VmState.FAILED else 0
        barred_looks = barred_looks + 1 if seen.waits else 0
        if barred_looks >= BARRED_LOOKS:
            (seen,) = with_bars(env, [seen])
            if seen.barred:
                return seen
            barred_looks = 0
        if done(seen) or failed_looks >= SETTLED_LOOKS or env.clock.monotonic() > deadline:
            return seen
        env.say(Progress(step))
        env.clock.sleep(POLL_S)


def wait_started(env: Env, name: VmName, start_timeout_s: float = 120) -> VmStatus:
    """Wait for Started; a VM that does not get there stays as it is, with its disk, and is still to start."""
    seen = wait(
        env, name, f"starting {name}", lambda vm: vm.state is VmState.STARTED, start_timeout_s + MARGIN_S
    )
    if seen.state is VmState.STARTED:
        return seen
    told = "; ".join(filter(None, (seen.unmanaged, seen.detail, seen.awaits)))
    reason = f": {told}" if told else ""
    lost, undo = _lost(env, seen), f"; the cluster keeps trying; to give up: vm-mgr stop {name}"
    if seen.barred:
        message, hint = f"{name} is {seen.state.value}{reason}", undo.removeprefix("; ")
        raise VmMgrError(Kind.NO_RESOURCES, message, hint=hint)
    if seen.state is VmState.FAILED:
        hint = lost or f"its disk is untouched; mend the cause, then: vm-mgr start {name}"
        raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{name} is Failed{reason}", hint=hint + undo)
    hint = lost or f"its disk is untouched; check again: vm-mgr status {name}"
    raise VmMgrError(Kind.TRY_LATER, f"{name} is still {seen.state.value}{reason}", hint=hint + undo)


def await_state(env: Env, name: VmName, *, enabled: bool, started: bool, again: str = "") -> VmStatus:
    """Wait for what a new VM was asked to be; again: the verb that makes it anew after a failed start."""
    if not enabled:
        return VmStatus(name, VmState.DISABLED)
    if not started:
        return status(env, name)
    try:
        return wait_started(env, name)
    except VmMgrError as error:
        error.hint += f"; to make it anew: vm-mgr remove {name}, then {again} it again" if again else ""
        raise


def wait_stopped(env: Env, name: VmName, stop_timeout_s: float, undo: str = "") -> VmStatus:
    """Wait for Stopped; undo says how the wish is taken back, where it outlives a failure."""
    seen = wait(
        env, name, f"stopping {name}", lambda vm: vm.state is VmState.STOPPED, stop_timeout_s + MARGIN_S
    )
    if seen.state is VmState.STOPPED:
        return seen
    reason = f": {seen.detail}" if seen.detail else ""
    hint = _lost(env, seen) or f"check again: vm-mgr status {name}; crm_mon -1"
    raise VmMgrError(Kind.TRY_LATER, f"{name} is {seen.state.value}, not Stopped{reason}", hint=hint + undo)


def _lost(env: Env, seen: VmStatus) -> str:
    return fencing_hint(env.cluster.state(), seen.node) if seen.state is VmState.FAILED else ""


def known_settings(env: Env, name: VmName) -> VmSettings:
    """Give the stored settings; the defaults for a VM whose disk is not ours to read."""
    try:
        return env.storage.definitions.settings(name)
    except VmMgrError as error:
        if error.kind is Kind.NOT_FOUND:
            return VmSettings()
        raise

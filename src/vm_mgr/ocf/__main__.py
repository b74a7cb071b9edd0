"""Run one action of the resource agent: python3 -m vm_mgr.ocf ACTION."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from vm_mgr.agent.actions import ACTIONS, failure
from vm_mgr.agent.agent_log import exit_reason, log_throttled, no_file, reset_throttle
from vm_mgr.agent.disks import note_disks
from vm_mgr.agent.monitor import Finding, monitor
from vm_mgr.agent.nvram import nvram_changed
from vm_mgr.agent.parameters import Parameters
from vm_mgr.errors import Kind, SignalError, VmMgrError
from vm_mgr.ocf.parameters import called, read
from vm_mgr.wiring import RealEnv

__all__ = ["main"]

# https://github.com/ClusterLabs/OCF-spec: ra/1.1/resource-agent-api.md
OCF_SUCCESS, OCF_ERR_GENERIC, OCF_ERR_UNIMPLEMENTED, OCF_ERR_CONFIGURED = 0, 1, 3, 6
# Python itself ends with 1 where it can't run this: only another status is a verdict on a VM.
FAILED = 11
KEEP_S = 5.0
KEEPS: dict[str, tuple[Callable[[RealEnv, Parameters], None], str]] = {
    "disks": (note_disks, "whether it writes to its own disks is unknown"),
    "nvram": (nvram_changed, "its UEFI variables and TPM are not kept"),
}


def main(action: str) -> int:
    """Run the action and give the agent's exit status."""
    if action in ("monitor", "status"):
        return _monitor(keep=action == "monitor")
    if action in KEEPS:
        return _keep(*KEEPS[action])
    if action not in ACTIONS:
        return OCF_ERR_UNIMPLEMENTED
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        # A stop may not fail for a parameter that only a start or a move needs.
        given = read(strict=action != "stop")
        # After the loss of a node Ceph answers only once that node's daemons have been missed. Of a stop that
        # saves memory so much must be left that the guest can go on and shut down.
        saves = action == "stop" and given.hibernation_s
        env = RealEnv(storage_patience_s=given.hibernation_s / 2 if saves else given.budget_s)
        try:
            _act(env, given, action)
        except (VmMgrError, SignalError) as error:
            env.journal.record(failure(env, given.name, action, error))
            raise
    except SignalError as error:
        exit_reason(RealEnv(), called(), f"{action}: {error.message}", "")
        return OCF_ERR_GENERIC
    except VmMgrError as error:
        exit_reason(RealEnv(), called(), f"{action}: {error.message}", error.hint)
        # "Configured wrongly" is for a VM that can run nowhere: one that is only not moved runs well.
        hopeless = error.kind is Kind.INVALID and action != "migrate_to"
        return OCF_ERR_CONFIGURED if hopeless else OCF_ERR_GENERIC
    return OCF_SUCCESS


def _act(env: RealEnv, given: Parameters, action: str) -> None:
    """Tell a node without space from a defect; the VM has no part in it."""
    try:
        ACTIONS[action](env, given)
    except OSError as error:
        raise VmMgrError(Kind.ENVIRONMENT, no_file(error, env.state_dir)) from error


def _monitor(*, keep: bool) -> int:
    """Make a deeper check; where nothing is known the VM has not failed. A person's only looks."""
    try:
        given = read(strict=False)
    except VmMgrError as error:
        print(f"WARNING: nothing is known: {error.message}", file=sys.stderr)
        return OCF_SUCCESS
    env = RealEnv()
    try:
        found = monitor(env, given, keep=keep)
    except OSError as error:
        found = Finding(text=f"check of {given.name}: nothing is known: {no_file(error, env.state_dir)}")
    except VmMgrError as error:
        found = Finding(text=f"check of {given.name}: nothing is known: {error.message}")
    if not keep:
        print(found.text, file=sys.stderr)
    elif found.text:
        log_throttled(env, given.name, given.check_level, found.text, failed=found.failed)
    else:
        reset_throttle(env, given.name, given.check_level)
    return FAILED if found.failed else OCF_SUCCESS


def _keep(keep: Callable[[RealEnv, Parameters], None], failed: str) -> int:
    """Keep what a monitor has seen to change; what can't be kept now is tried again by the next monitor."""
    try:
        keep(RealEnv(storage_patience_s=KEEP_S), read(strict=False))
    except VmMgrError as error:
        print(f"WARNING: {failed}: {error.message}", file=sys.stderr)
        return OCF_ERR_GENERIC
    return OCF_SUCCESS


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    signal.signal(number, signal.SIG_IGN)
    raise SignalError(number)


if __name__ == "__main__":
    status = main(sys.argv[1] if len(sys.argv) > 1 else "")
    sys.stderr.flush()
    os._exit(
        status
    )  # the teardown with Ceph's client connected can crash, and that would be the action's failure

"""Take a VM's disks back to a snapshot."""

from vm_mgr.errors import raise_all
from vm_mgr.model.mark import Mark
from vm_mgr.model.vm import TargetRole, VmName, VmStatus
from vm_mgr.operations.alone import alone, marked
from vm_mgr.operations.checks import quorum_problems, require_defined
from vm_mgr.operations.disable import halt, role_of
from vm_mgr.operations.overlay import disk_problems
from vm_mgr.operations.remove_snapshot import find
from vm_mgr.operations.saved import give_up
from vm_mgr.operations.status import status
from vm_mgr.operations.waiting import wait_started
from vm_mgr.ports.env import Env

__all__ = ["rollback", "settle"]

ROLLING = "rolling"


def rollback(env: Env, name: VmName, snapshot: str) -> VmStatus:
    """Stop the VM if it runs, take all its disks back, and start it again if it ran."""
    with alone(env, name):
        state = env.cluster.state()
        raise_all(quorum_problems(state))
        require_defined(env, name)
        find(env, name, snapshot)
        raise_all(disk_problems(env, state, name))
        was = role_of(state.resources.get(name))
        with marked(env, name, "rollback", snapshot=snapshot, was=was, phase="stopping") as step:
            if was:
                halt(env, name)
            step.now(ROLLING)
            _roll(env, name, snapshot, was)
    return wait_started(env, name) if was == TargetRole.STARTED.value else status(env, name)


def settle(env: Env, name: VmName, mark: Mark) -> None:
    """Finish once disks may have been taken back; before that let the VM run again, if it was to run."""
    was = mark.details["was"]
    asked = role_of(env.cluster.state().resources.get(name))
    if mark.details["phase"] == ROLLING and asked == was == TargetRole.STARTED.value:
        return  # that comes last: the disks are back, and what the guest has written since is its own
    if mark.details["phase"] == ROLLING:
        _roll(env, name, mark.details["snapshot"], was)
    elif was and name in env.cluster.state().resources:
        env.cluster.set_target_role(name, TargetRole(was))


def _roll(env: Env, name: VmName, snapshot: str, was: str) -> None:
    give_up(env, name)
    env.snapshots.roll_back(name, snapshot)
    if was:
        env.cluster.set_target_role(name, TargetRole(was))

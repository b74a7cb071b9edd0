"""Remove a VM with its disks."""

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.mark import Mark
from vm_mgr.model.vm import TargetRole, VmName, VmState, VmStatus
from vm_mgr.operations.alone import claimed, marked
from vm_mgr.operations.checks import clone_problems, quorum_problems
from vm_mgr.operations.disable import halt, role_of
from vm_mgr.ports.env import Env

__all__ = ["remove", "settle"]

DELETING = "deleting"


def remove(env: Env, name: VmName) -> VmStatus:
    """Stop the VM, take it out of the cluster, delete its disks and what an unfinished operation left."""
    with claimed(env, name):
        state = env.cluster.state()
        resource = state.resources.get(name)
        enabled = resource is not None and resource.is_vm
        left = name in env.ledger.marks()
        problems = quorum_problems(state)
        if not (enabled or left or env.storage.exists(name)):
            problems.append(
                VmMgrError(Kind.NOT_FOUND, f"there is no VM {name!r}", hint="see the VMs: vm-mgr list")
            )
        problems += clone_problems(env, name)
        raise_all(problems)
        with marked(env, name, "remove", was=role_of(resource), phase="stopping") as step:
            if enabled:
                halt(env, name)
            step.now(DELETING)
            _delete(env, name)
    return VmStatus(name, VmState.UNDEFINED)


def settle(env: Env, name: VmName, mark: Mark) -> None:
    """Finish a removal that has begun to delete; before that let the VM run again, if it was to run."""
    if mark.details.get("phase") == DELETING:
        _delete(env, name)
    elif mark.details["was"] and name in env.cluster.state().resources:
        env.cluster.set_target_role(name, TargetRole(mark.details["was"]))


def _delete(env: Env, name: VmName) -> None:
    resource = env.cluster.state().resources.get(name)
    if resource is not None and resource.is_vm:
        env.cluster.remove(name)
    env.storage.remove(name)

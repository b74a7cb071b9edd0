"""Give a VM another name."""

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.mark import Mark
from vm_mgr.model.vm import VmName, VmStatus, name_problems
from vm_mgr.operations.alone import alone, marked
from vm_mgr.operations.checks import quorum_problems, require_defined
from vm_mgr.operations.overlay import noted_problems
from vm_mgr.operations.saved import saved_problems
from vm_mgr.operations.status import status
from vm_mgr.ports.env import Env

__all__ = ["rename", "settle", "settle_elsewhere"]


def rename(env: Env, name: VmName, new: VmName) -> VmStatus:
    """Rename disks, definition, resource and constraints of a VM that doesn't run."""
    raise_all(name_problems(new))
    with alone(env, name, new):
        state = env.cluster.state()
        problems = quorum_problems(state)
        require_defined(env, name)
        if new in state.resources or env.storage.exists(new):
            problems.append(
                VmMgrError(Kind.EXISTS, f"there is a VM {new} already", hint="choose another name")
            )
        resource = state.resources.get(name)
        if resource is not None and (resource.active or resource.target_role != "Stopped"):
            hint = f"stop it first: vm-mgr stop {name}"
            problems.append(VmMgrError(Kind.WRONG_STATE, f"{name} runs, or is to run", hint=hint))
        raise_all(problems + saved_problems(env, name) + noted_problems(env, name))
        # Both names lead to the mark: whichever is used next settles it.
        with marked(env, new, "rename", old=name, new=new), marked(env, name, "rename", old=name, new=new):
            _rename(env, name, new)
    return status(env, new)


def settle(env: Env, name: VmName, mark: Mark) -> None:  # noqa: ARG001 - the mark has both names
    """Finish it if both names have the mark; with one alone, nothing was begun, or all is done."""
    old, new = VmName(mark.details["old"]), VmName(mark.details["new"])
    left = env.ledger.marks()
    marked_ones = [one for one in (new, old) if one in left and left[one].details == mark.details]
    if len(marked_ones) == 2 and (env.storage.exists(old) or env.storage.exists(new)):
        _rename(env, old, new)
    for one in marked_ones:
        env.ledger.erase(one)


settle_elsewhere = settle


def _rename(env: Env, old: VmName, new: VmName) -> None:
    """Each step finds out by itself whether it was done."""
    env.storage.rename(old, new)
    kept = env.storage.metadata(new)
    if kept.get("vm_name") != new:
        storage = env.storages.called(env.storages.of(new))
        numbers = range(len(storage.images(new)))
        sources = {storage.disk(old, n, None).source: storage.disk(new, n, None).source for n in numbers}
        xml = env.definitions.renamed(kept["xml"], new, sources)
        env.storage.describe(new, {"xml": xml, "vm_name": new})
    env.cluster.rename(old, new)

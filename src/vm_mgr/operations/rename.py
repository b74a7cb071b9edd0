"""Give a VM another name."""

from collections.abc import Mapping
from contextlib import suppress

from vm_mgr.errors import Kind, ProgramError, VmMgrError, raise_all
from vm_mgr.model.intent import Intent
from vm_mgr.model.vm import VmName, VmStatus, name_problems
from vm_mgr.operations.disable import expected_of
from vm_mgr.operations.enable import resource_for
from vm_mgr.operations.lifecycle.saved_memory import saved_problems
from vm_mgr.operations.status import status
from vm_mgr.operations.storage.free import require_free
from vm_mgr.operations.storage.overlay import noted_problems
from vm_mgr.operations.support.locking import REFUSALS, first_change, locked, with_intent
from vm_mgr.operations.support.preconditions import node_name_error, quorum_problems, require_defined
from vm_mgr.ports.env import Env

__all__ = ["recover", "recover_others", "rename"]


def rename(env: Env, name: VmName, new: VmName) -> VmStatus:
    """Rename disks, definition, resource and constraints of a VM that doesn't run."""
    raise_all(name_problems(new))
    with locked(env, name, new):
        state = env.cluster.state()
        problems = quorum_problems(state)
        require_defined(env, name)
        if state.has(new) or env.storage.definitions.exists(new):
            problems.append(
                VmMgrError(Kind.EXISTS, f"there is a VM {new} already", hint="choose another name")
            )
        if state.node(new) is not None:
            problems.append(node_name_error(new))
        resource = state.resources.get(name)
        if resource is not None and (resource.active or resource.target_role != "Stopped"):
            hint = f"stop it first: vm-mgr stop {name}"
            problems.append(VmMgrError(Kind.WRONG_STATE, f"{name} runs, or is to run", hint=hint))
        raise_all(problems + saved_problems(env, name) + noted_problems(env, name))
        with suppress(ProgramError):  # a disk that is damaged is renamed too
            require_free(env, name, "not renamed")
        details = {"old": str(name), "new": str(new)}
        if resource is not None and _has_disks(env, name):
            details["again"] = "yes"
        # Both names lead to the intent: whichever is used next recovers it.
        with (
            with_intent(env, new, "rename", **details) as one,
            with_intent(env, name, "rename", **details) as other,
        ):
            with first_change(one, other):
                _rename(env, name, new, details)
            _follow(env, name, new, details)
    return status(env, new)


def recover(env: Env, name: VmName, intent: Intent) -> bool | None:  # noqa: ARG001 - the mark has both names
    """Finish it if both names have the intent; with one alone, nothing was begun, or all is done."""
    old, new = VmName(intent.details["old"]), VmName(intent.details["new"])
    left = env.intent_log.intents()
    marked_ones = [one for one in (new, old) if one in left and left[one].details == intent.details]
    finishes = len(marked_ones) == 2 and (
        env.storage.definitions.exists(old) or env.storage.definitions.exists(new)
    )
    if finishes:
        _rename(env, old, new, intent.details)
        _follow(env, old, new, intent.details)
    for one in marked_ones:
        env.intent_log.erase(one)
    return True if finishes else None


recover_others = recover


def _rename(env: Env, old: VmName, new: VmName, details: Mapping[str, str]) -> None:
    """Rename what is stored; disks that are resources of the cluster leave it before, and come back after.

    Under two names the cluster would have one disk twice, and stop the one as it begins to watch the other.
    """
    if details.get("again") and env.storage.definitions.exists(old):
        env.cluster.remove(old, expected_of(env, old))
    try:
        env.storage.rename(old, new)
    except VmMgrError as error:
        if details.get("again") and error.kind in REFUSALS:
            _put_back(env, old)
        raise


def _put_back(env: Env, name: VmName) -> None:
    """Have the cluster know the stopped VM."""
    if name not in env.cluster.state().resources:
        settings = env.storage.definitions.settings(name)
        env.cluster.add(resource_for(env, name, settings, start=False))


def _has_disks(env: Env, name: VmName) -> bool:
    label = env.storages.label_of(name)
    return bool(label and env.storages.cluster_parts(label, name).disks)


def _follow(env: Env, old: VmName, new: VmName, details: Mapping[str, str]) -> None:
    """Have definition and cluster follow; each step finds out by itself whether it was done."""
    kept = env.storage.definitions.metadata(new)
    if kept.get("vm_name") != new:
        storage = env.storages.get(env.storages.label_of(new))
        numbers = range(len(storage.clients.images(new)))
        sources = {
            storage.disks.locate(old, n, None).source: storage.disks.locate(new, n, None).source
            for n in numbers
        }
        xml = env.definitions.renamed(kept["xml"], new, sources)
        env.storage.definitions.describe(new, {"xml": xml, "vm_name": new})
    env.cluster.rename(old, new)
    if details.get("again"):
        _put_back(env, new)

"""Remove snapshots: one by name, or many by age."""

from vm_mgr.errors import Kind, UnknownNameError, VmMgrError, raise_all
from vm_mgr.model.intent import Intent
from vm_mgr.model.storage import Snapshot
from vm_mgr.model.vm import VmName
from vm_mgr.operations.lifecycle.saved_memory import saved_problems
from vm_mgr.operations.storage.free import shed_dead
from vm_mgr.operations.support.locking import first_change, locked, with_intent
from vm_mgr.operations.support.preconditions import require_defined
from vm_mgr.ports.env import Env

__all__ = ["find", "purge", "recover", "remove_snapshot"]


def remove_snapshot(env: Env, name: VmName, snapshot: str) -> None:
    """Remove one."""
    with locked(env, name):
        require_defined(env, name)
        raise_all(saved_problems(env, name))
        found = find(env, name, snapshot)
        shed_dead(env, name)
        _drop(env, name, found.name)


def purge(
    env: Env, name: VmName, *, before_utc: float | None = None, number: int | None = None
) -> list[Snapshot]:
    """Remove all snapshots, or those taken before a time, or the oldest ones; give what was removed."""
    if number is not None and number < 0:
        raise VmMgrError(Kind.INVALID, f"{number} snapshots can't be removed", hint="give a number from 0 on")
    with locked(env, name):
        require_defined(env, name)
        raise_all(saved_problems(env, name))
        found = env.storage.snapshots.of(name)[:number]
        chosen = [one for one in found if before_utc is None or one.taken_utc < before_utc]
        if chosen:
            shed_dead(env, name)
        for one in chosen:
            _drop(env, name, one.name)
    return chosen


def recover(env: Env, name: VmName, intent: Intent) -> bool:
    """Finish it: a snapshot that lacks a disk is of no use."""
    if env.storage.definitions.exists(name):
        env.storage.snapshots.drop(name, intent.details["snapshot"])
    return True


def takes_long(intent: Intent) -> bool:  # noqa: ARG001 - a snapshot of much data takes its time
    """Finishing it is to do it again."""
    return True


def find(env: Env, name: VmName, snapshot: str) -> Snapshot:
    """Give a snapshot; raises NOT_FOUND."""
    known = {present.name: present for present in env.storage.snapshots.of(name)}
    if snapshot in known:
        return known[snapshot]
    hint = f"see them: vm-mgr list-snapshots {name}"
    raise UnknownNameError(f"{name} has no snapshot {snapshot!r}", snapshot, known, hint=hint)


def _drop(env: Env, name: VmName, snapshot: str) -> None:
    with with_intent(env, name, "drop-snapshot", snapshot=snapshot) as step, first_change(step):
        env.storage.snapshots.drop(name, snapshot)

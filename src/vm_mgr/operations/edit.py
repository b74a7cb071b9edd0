"""Replace a VM's stored definition."""

from collections.abc import Collection

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.vm import VmName
from vm_mgr.operations.create import claimed, taken_problems
from vm_mgr.operations.storage.quiesce import node_of
from vm_mgr.operations.support.capacity import guest_problems
from vm_mgr.operations.support.locking import asked, locked
from vm_mgr.operations.support.preconditions import require_defined
from vm_mgr.operations.support.requirements import fitness_problems, renew_requirements
from vm_mgr.operations.support.ties import (
    own_sources,
    state_problems,
    warn_of_foreign,
    warn_of_immovable,
    warn_of_ties,
)
from vm_mgr.ports.definition import Tie
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["edit", "edit_problems", "read_definition"]


def read_definition(env: Env, name: VmName) -> str:
    """Give the text that is started next; raises NOT_FOUND."""
    require_defined(env, name)
    return env.storage.definitions.read(name)


def edit(env: Env, name: VmName, xml: str, before: str, *, allow: Collection[str] = ()) -> bool:
    """Store another text in place of the one that was read before; False where both are the same.

    Raises TRY_LATER where somebody has changed it meanwhile. A running VM is left alone.
    """
    with locked(env, name), claimed(env, xml):
        present = read_definition(env, name)
        if present != before:
            message = f"the definition of {name} has been changed by another command meanwhile"
            raise VmMgrError(Kind.TRY_LATER, message, hint="look at the new one and edit that")
        if xml.strip() == present.strip():
            return False
        raise_all(edit_problems(env, name, xml, present, allow=allow))
        settings = env.storage.definitions.settings(name)
        host = settings.pinned_host
        known = env.definitions.requirements(present)
        asks_else = env.definitions.requirements(xml) != known
        state = env.cluster.state()
        raise_all(fitness_problems(env, state, name, xml, host=host, allow=allow, known=known))
        _warn_of_others(env, name, xml, present)
        warn_of_immovable(env, name, xml, settings)
        _warn_of_sizes(env, name, xml, present)
        asked(env, name, "edit")
        env.storage.definitions.describe(name, {"xml": env.definitions.completed(xml)})
        if node_of(env, name) is not None:
            text = f"{name} runs on as it is; the change takes effect at its next start"
            env.say(Note(Level.INFO, "effect-start", text, f"vm-mgr restart {name}"))
        elif asks_else:
            renew_requirements(env, name)
    return True


def edit_problems(
    env: Env, name: VmName, xml: str, before: str, *, allow: Collection[str] = ()
) -> list[VmMgrError]:
    """Check that a text still describes this VM: its name, its UUID, its disks; allow: of ties.py."""
    problems = env.definitions.problems(xml)
    if problems:
        return problems
    for what, read in (("name", env.definitions.name), ("UUID", env.definitions.uuid)):
        old, new = read(before), read(xml)
        if old != new:
            hint = f"leave it as it was: {old}; see vm-mgr rename and clone" if old else "leave it out"
            message = f"the {what} must not change (from {old or 'none'} to {new or 'none'})"
            problems.append(VmMgrError(Kind.INVALID, message, hint=hint))
    now, own = env.definitions.sources(xml), own_sources(env, name)
    for source in (one for one in env.definitions.sources(before) if one in own and one not in now):
        hint = "keep it; to take a disk away: vm-mgr remove-disk"
        problems.append(VmMgrError(Kind.INVALID, f"the disk {source} of {name} is missing", hint=hint))
    for source in (one for one in own if now.count(one) > 1):
        hint = "two devices on one disk would destroy it"
        problems.append(VmMgrError(Kind.INVALID, f"the disk {source} is there more than once", hint=hint))
    problems += taken_problems(env, name, xml, allow, before=before)
    return problems + state_problems(env, name, xml, allow, known=_ties(env, before))


def _ties(env: Env, xml: str) -> tuple[Tie, ...]:
    try:
        return env.definitions.ties(xml)
    except VmMgrError:
        return ()  # what was stored can't be read: all is new


def _warn_of_sizes(env: Env, name: VmName, xml: str, before: str) -> None:
    """Tell of a guest that became too large for every node; who edits the text decides."""
    was, is_now = env.definitions.machine(before), env.definitions.machine(xml)
    memory_bytes = is_now.memory_bytes if is_now.memory_bytes != was.memory_bytes else None
    vcpus = is_now.vcpus if is_now.vcpus != was.vcpus else None
    host = env.storage.definitions.settings(name).pinned_host
    state = env.cluster.state()
    for problem in guest_problems(env, state, memory_bytes=memory_bytes, vcpus=vcpus, host=host):
        env.say(Note(Level.WARNING, "too-large", problem.message, f"{name} can't start with it"))


def _warn_of_others(env: Env, name: VmName, xml: str, before: str) -> None:
    known = {*env.definitions.sources(before), *own_sources(env, name)}
    others = [source for source in env.definitions.sources(xml) if source not in known]
    before_ties = _ties(env, before)
    if not others:
        warn_of_ties(env, name, xml, own_sources(env, name), known=before_ties)
        return
    ties = [tie for tie in env.definitions.ties(xml, [*known, *others]) if tie not in before_ties]
    warn_of_foreign(env, name, others, ties)

"""Keep VMs together, or apart."""

from collections.abc import Mapping, Sequence

from vm_mgr.errors import Kind, UnknownNameError, VmMgrError, raise_all
from vm_mgr.model.intent import Intent
from vm_mgr.model.vm import VmName, VmSettings
from vm_mgr.operations.enable import resource_for
from vm_mgr.operations.support.change_checks import change_problems
from vm_mgr.operations.support.changes import changed_from, noted
from vm_mgr.operations.support.foreign_settings import tell_set_by_others
from vm_mgr.operations.support.locking import first_change, locked, restore_settings_on_failure, with_intent
from vm_mgr.operations.support.preconditions import no_vm, quorum_problems, require_defined
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["add_colocation", "list_colocation", "recover", "remove_colocation", "separate"]

WISH = "700"
MUST = "INFINITY"


def add_colocation(
    env: Env, name: VmName, others: Sequence[str], *, strong: bool = False, restart_others: bool = False
) -> Mapping[str, str]:
    """Let the VM run where the others run: preferably, or only there if strong; give all that it has.

    restart_others: also where VMs are moved, or stopped and started, for it at once.
    """
    changes = dict.fromkeys(others, MUST if strong else WISH)
    return _change(env, name, changes, restart_others=restart_others)


def separate(
    env: Env, name: VmName, others: Sequence[str], *, strong: bool = False, restart_others: bool = False
) -> Mapping[str, str]:
    """Let the VM run where the others don't: preferably, or never beside them if strong.

    restart_others: also where VMs are moved, or stopped and started, for it at once.
    """
    changes = dict.fromkeys(others, "-" + (MUST if strong else WISH))
    return _change(env, name, changes, restart_others=restart_others)


def remove_colocation(env: Env, name: VmName, others: Sequence[str] = ()) -> Mapping[str, str]:
    """Forget about these others, or about all; give what is left."""
    present = _own(env, name)
    unknown = [other for other in others if other not in present]
    if unknown:
        hint = f"see them: vm-mgr list-colocation {name}"
        message = f"{name} has no colocation with {', '.join(unknown)}"
        raise UnknownNameError(message, unknown[0], present, hint=hint)
    if not present:
        _tell_none(env, name)
    return _change(env, name, dict.fromkeys(others or present), restart_others=True)


def list_colocation(env: Env, name: VmName) -> Mapping[str, str]:
    """Give the scores by the other resource's name; below 0 is separation.

    Those that other VMs have with this one are told: they belong to the others.
    """
    present = _own(env, name)
    if not present:
        _tell_none(env, name)
    try:
        others = env.cluster.configured(name).named_by
    except VmMgrError as error:
        others = {}
        text = f"whether other VMs have a colocation with {name} is unknown: {error.message}"
        env.say(Note(Level.WARNING, "not-seen", text, error.hint))
    for other, score in others.items():
        where = "away from" if score.startswith("-") else "together with"
        text = f"{other} is kept {where} {name} ({score})"
        hint = f"that belongs to {other}: vm-mgr list-colocation {other}"
        env.say(Note(Level.INFO, "tied-by-other", text, hint))
    return present


def _own(env: Env, name: VmName) -> Mapping[str, str]:
    require_defined(env, name)
    return env.storage.definitions.settings(name).colocations


def _tell_none(env: Env, name: VmName) -> None:
    hint = f"other VMs may have one with it: vm-mgr show {name}"
    env.say(Note(Level.INFO, "unchanged", f"{name} has no colocations of its own", hint))


def recover(env: Env, name: VmName, intent: Intent) -> None:
    """Bring the cluster to what is stored, which is what was asked for, or what was there before."""
    if env.storage.definitions.exists(name):
        stored = env.storage.definitions.settings(name)
        _apply(env, name, stored, changed_from(intent, stored, "colocations"))


def _change(
    env: Env, name: VmName, changes: Mapping[str, str | None], *, restart_others: bool
) -> Mapping[str, str]:
    with locked(env, name):
        state = env.cluster.state()
        problems = quorum_problems(state)
        require_defined(env, name)
        for other, score in changes.items():
            if other == name:
                message = f"{name} can't be kept together with, or apart from, itself"
                problems.append(VmMgrError(Kind.INVALID, message, hint="name another VM"))
            elif score and not state.has(other) and not env.storage.definitions.exists(VmName(other)):
                problems.append(no_vm(env, other, state.resources, what="VM or resource"))
        raise_all(problems)
        before = env.storage.definitions.settings(name)
        merged = {**before.colocations, **changes}
        settings = before._replace(colocations={key: score for key, score in merged.items() if score})
        vm, was = (resource_for(env, name, one, start=True) for one in (settings, before))
        raise_all(change_problems(env, state, vm, was, restart_others=restart_others))
        changed = noted(before.colocations, settings.colocations)
        with with_intent(env, name, "colocation", **changed) as step:
            with first_change(step):
                env.storage.definitions.change_settings(name, settings)
            with restore_settings_on_failure(env, name, before):
                _apply(env, name, settings, before)
        tell_set_by_others(env, state, name, settings)
        return settings.colocations


def _apply(env: Env, name: VmName, settings: VmSettings, before: VmSettings | None) -> None:
    was = None if before is None else resource_for(env, name, before, start=True)
    env.cluster.reconfigure(resource_for(env, name, settings, start=True), was)

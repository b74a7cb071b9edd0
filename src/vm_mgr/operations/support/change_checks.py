"""Ask the scheduler, before rules or settings of a VM are changed, what the cluster would do about it."""

from vm_mgr.errors import ConsentError, Kind, VmMgrError
from vm_mgr.model.cluster import ClusterState
from vm_mgr.operations.support.bars import words_of
from vm_mgr.ports.cluster import SideEffect, VmResource
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["change_problems"]


def change_problems(
    env: Env, state: ClusterState, vm: VmResource, before: VmResource, *, restart_others: bool
) -> list[VmMgrError]:
    """Refuse rules after which a VM could not run; name those that are moved or restarted at once.

    That needs consent, but for a live move of the VM itself, which is what the rules are for.
    """
    if vm.name not in state.resources:
        return []
    try:
        found = env.cluster.simulate_change(vm, before)
    except VmMgrError as error:
        text = f"what the change of {vm.name} would do can't be simulated: {error.message}"
        env.say(Note(Level.WARNING, "not-foreseen", text, error.hint))
        return []
    problems: list[VmMgrError] = []
    for name, causes in found.causes.items():
        why = words_of(causes) or "no node would be left for it"
        hint = next(
            (one.hint for one in causes if one.hint), f"see its rules: vm-mgr show {name}; crm_mon -1"
        )
        problems.append(VmMgrError(Kind.WRONG_STATE, f"{name} could not run any more: {why}", hint=hint))
    for name, harm in found.effects.items():
        resource = state.resources.get(name)
        if resource is None or not resource.is_vm or name in found.causes:
            continue
        text = f"{name} would be {harm.value} at once"
        if harm is SideEffect.STOPPED:
            hint = f"see its rules: vm-mgr show {name}; crm_mon -1"
            problems.append(VmMgrError(Kind.WRONG_STATE, text, hint=hint))
        elif restart_others or (name == vm.name and harm is SideEffect.MOVED):
            env.say(Note(Level.WARNING, "moves-others", text))
        else:
            problems.append(ConsentError(text))
    return problems

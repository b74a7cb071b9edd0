"""Judge from the facts what would keep a running VM from arriving, or harm others; nothing is asked here."""

from collections.abc import Sequence
from typing import NamedTuple

from vm_mgr.errors import ConsentError, Kind, VmMgrError, raise_all
from vm_mgr.model.cluster import ClusterState, NodeName
from vm_mgr.model.failback import Failback
from vm_mgr.model.resource import ClusterParts
from vm_mgr.model.vm import VmName, VmSettings, VmState, VmStatus
from vm_mgr.operations.migration.facts import Facts, Targets
from vm_mgr.operations.migration.options import MigrateOptions, Target, term_problems
from vm_mgr.operations.support.bars import words_of
from vm_mgr.operations.support.placement import missing_resources, worse_node_reasons
from vm_mgr.operations.support.preconditions import fencing_hint, host_problems
from vm_mgr.operations.support.vm_state import membership_problems
from vm_mgr.ports.cluster import SideEffect, Simulation, VmResource
from vm_mgr.reports import Level, Note, Say

__all__ = ["Verdict", "arrival", "goal_problems", "request_problems", "side_effects"]


class Verdict(NamedTuple):
    """What forbids a move, and what is to be told of one all the same."""

    problems: Sequence[VmMgrError] = ()
    notes: Sequence[Note] = ()

    def require(self, say: Say) -> None:
        """Say the notes, and raise the problems, if there are any."""
        for note in self.notes:
            say(note)
        raise_all(self.problems)


def request_problems(facts: Facts, goal: Target, options: MigrateOptions) -> list[VmMgrError]:
    """Refuse a VM on its way, what is no move, and options that have no effect."""
    return (
        membership_problems(facts.before, "not moved")
        or _still_moving(facts.seen)
        or goal_problems(facts.state, facts.seen, goal, facts.settings)
    ) + term_problems(facts.seen.name, options, facts.vm, facts.before.agent)


def goal_problems(
    state: ClusterState, seen: VmStatus, goal: Target, settings: VmSettings
) -> list[VmMgrError]:
    """Refuse what is no move, or one that the VM's own settings or the nodes don't allow."""
    to, hosts = goal.to, set(state.hosts)
    problems, pinned = host_problems(state, to, now=True), settings.pinned_host
    able = hosts - {seen.node}
    returns = settings.failback == Failback.RETURN.value and settings.preferred_host in hosts
    if seen.state is not VmState.STARTED:
        reason = f" ({seen.detail})" if seen.detail else ""
        message = f"{seen.name} is {seen.state.value}{reason}; only a Started VM can be moved"
        problems.append(VmMgrError(Kind.WRONG_STATE, message, hint=_way_to_started(state, seen)))
    elif pinned and to != pinned:
        message = f"{seen.name} is pinned to {pinned}"
        problems.append(
            VmMgrError(Kind.WRONG_STATE, message, hint=f"vm-mgr set {seen.name} --unset pinned-host")
        )
    elif returns and to != seen.node == settings.preferred_host:
        message = f"{seen.name} would return at once to {seen.node}, the host that it prefers (--failback)"
        hint = f"vm-mgr set {seen.name} --failback stay; to empty the node for a reboot: vm-mgr migrate "
        problems.append(VmMgrError(Kind.WRONG_STATE, message, hint=f"{hint}--all-from {seen.node} --standby"))
    elif to is None and not able - goal.avoid:
        drained = able & goal.avoid
        message = f"no other node can take {seen.name} now"
        message += f": also drained are {', '.join(sorted(drained))}" if drained else ""
        problems.append(VmMgrError(Kind.NO_RESOURCES, message, hint="see the nodes: crm_mon -1"))
    return problems


def arrival(state: ClusterState, vm: VmResource, source: NodeName, targets: Targets) -> Verdict:
    """Judge where it may go: one node that can take the VM is enough, then the others are only told."""
    if source in targets.silent:
        return Verdict([_unreachable(source, targets.silent[source])])
    found = {node: _node_problems(state, vm, source, node, targets) for node in targets.refusals}
    if all(found.values()):
        return Verdict([problem for problems in found.values() for problem in problems])
    told = [(node, problem) for node, problems in found.items() for problem in problems]
    return Verdict(
        notes=[
            Note(Level.WARNING, "node-unfit", f"{node} can't take {vm.name}: {problem.message}", problem.hint)
            for node, problem in told
        ]
    )


def _target_problems(vm: VmResource, goal: Target, found: Simulation) -> list[VmMgrError]:
    """Refuse a node where the cluster would not run the VM in spite of the move, with the rules."""
    if not found.known or goal.to is None or found.goes_to == goal.to:
        return []
    causes = found.causes.get(vm.name, ())
    why = f": {words_of(causes)}" if causes else ""
    hint = next(
        (one.hint for one in causes if one.hint), f"see what keeps it: vm-mgr show {vm.name}; crm_mon -1"
    )
    message = f"the cluster would not run {vm.name} on {goal.to}{why}"
    return [VmMgrError(Kind.WRONG_STATE, message, hint=hint)]


def side_effects(
    state: ClusterState, vm: VmResource, source: NodeName, goal: Target, found: Simulation
) -> Verdict:
    """Refuse what the cluster's rules would make a stop: of a VM for which no node is left, or of others.

    That a VM without live migration is itself stopped and started is its move: it was told before, or needs
    consent. Others are moved, or restarted, only for who has said so.
    """
    problems = _stop_problems(vm, source, goal)
    if unreached := _target_problems(vm, goal, found):
        return Verdict(unreached)
    notes = []
    hint = f"see what keeps it: vm-mgr show {vm.name}; crm_mon -1"
    moved = f"moved to {goal.to}" if goal.to else f"left {source}"
    for name, harm in found.effects.items():
        text = f"if {vm.name} {moved}, {name} would be {harm.value}"
        if name not in state.resources or not state.resources[name].is_vm:
            continue
        if harm is SideEffect.STOPPED:
            why = words_of(found.causes.get(name, ())) or "no other node may take it"
            problems.append(VmMgrError(Kind.NO_RESOURCES, f"{text}: {why}", hint=hint))
        elif (name == vm.name and not vm.live_migration) or (harm is SideEffect.MOVED and goal.source):
            continue  # its own move; and who follows it live from a node that is drained is to leave too
        elif not (goal.allow_moves if harm is SideEffect.MOVED else goal.allow_restart):
            problems.append(ConsentError(text))
        else:
            code = "restarts" if harm is SideEffect.RESTARTED else "moves-others"
            notes.append(Note(Level.WARNING, code, text, hint))
    return Verdict(problems, notes)


def _stop_problems(vm: VmResource, source: NodeName, goal: Target) -> list[VmMgrError]:
    """Ask for consent where the guest does not go on: it is neither moved live nor saved."""
    if vm.live_migration or vm.hibernation_s or goal.allow_stop:
        return []
    text = f"{vm.name} has no live migration: it would be stopped on {source} and started elsewhere"
    return [ConsentError(text, allows="allow_stop", option="--yes")]


def _still_moving(seen: VmStatus) -> list[VmMgrError]:
    """Refuse a VM on its way: another constraint now would have it stopped and started."""
    if not seen.moving:
        return []
    hint = f"wait until it has arrived: vm-mgr status {seen.name}; or cancel it: vm-mgr unmigrate {seen.name}"
    return [VmMgrError(Kind.TRY_LATER, f"{seen.name} is still on its way from an earlier move", hint=hint)]


def _node_problems(
    state: ClusterState, vm: VmResource, source: NodeName, node: NodeName, targets: Targets
) -> list[VmMgrError]:
    problems = _storage_problems(state, vm.name, node, targets.storage_parts)
    problems += targets.refusals[node]
    if node in targets.silent:
        problems.append(_unreachable(node, targets.silent[node]))
    worse = worse_node_reasons(state, vm, source, node)
    return problems + [_unfit(vm.name, node, reason, cure) for reason, cure in worse]


def _storage_problems(
    state: ClusterState, name: VmName, node: NodeName, parts: ClusterParts
) -> list[VmMgrError]:
    """Refuse a node where what mounts and guards the VM's disks does not run, or can't be promoted."""
    return [
        VmMgrError(
            Kind.WRONG_STATE,
            f"the storage of {name} is not active on {node}: {resource} does not run there",
            hint=f"see why: crm_mon -1; crm_resource --why -r {resource}",
        )
        for resource in missing_resources(state, parts, node)
    ]


def _unfit(name: VmName, node: NodeName, reason: str, cure: str) -> VmMgrError:
    message = f"{node} suits {name} worse than its present node: {reason}; it would be moved back at once"
    hint = cure or f"mend that, or have the VM not care: vm-mgr set {name} --uplink ignore"
    return VmMgrError(Kind.WRONG_STATE, message, hint=hint)


def _unreachable(node: NodeName, error: VmMgrError) -> VmMgrError:
    if error.kind is Kind.ENVIRONMENT:
        return error
    hint = (
        f"on {node}: systemctl status libvirtd virtqemud; from here: ssh to {node} as root must ask nothing"
    )
    return VmMgrError(Kind.WRONG_STATE, f"the libvirt of {node} can't be reached: {error.message}", hint=hint)


def _way_to_started(state: ClusterState, seen: VmStatus) -> str:
    if lost := fencing_hint(state, seen.node):
        return lost
    if seen.state in (VmState.STOPPED, VmState.FAILED):
        return f"start it: vm-mgr start {seen.name}"
    return f"check again: vm-mgr status {seen.name}"

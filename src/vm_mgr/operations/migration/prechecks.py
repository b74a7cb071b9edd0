"""Look, before anything moves, for what would keep a running VM from arriving, or harm others."""

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import ClusterState, NodeName
from vm_mgr.model.failback import Failback
from vm_mgr.model.vm import VmName, VmSettings, VmState, VmStatus
from vm_mgr.operations.migration.options import Target
from vm_mgr.operations.support.placement import missing_resources, worse_node_reasons
from vm_mgr.operations.support.preconditions import fencing_hint, host_problems
from vm_mgr.ports.cluster import SideEffect, VmResource
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note, Progress

__all__ = ["arrival_problems", "goal_problems", "side_effect_problems"]


def arrival_problems(
    env: Env,
    state: ClusterState,
    vm: VmResource,
    source: NodeName,
    to: NodeName | None,
    avoiding: frozenset[NodeName] = frozenset(),
    *,
    alive: bool,
) -> list[VmMgrError]:
    """Look at the node, or each that the cluster may choose: then one that can take the VM is enough.

    alive: also ask the libvirt of each whether it can go on with the running guest.
    """
    name = vm.name
    env.say(Progress(f"looking whether {name} can move"))
    try:
        xml = env.hypervisor_at(source).running_definition(name) if alive else ""
    except VmMgrError as error:
        return [_unreachable(source, error)]
    others = [node.name for node in state.nodes if node.can_host and node.name not in {source, *avoiding}]
    found = {node: _problems(env, state, name, node, xml) for node in ([to] if to else others)}
    for node, problems in found.items():
        problems += [_unfit(name, node, reason) for reason in worse_node_reasons(state, vm, source, node)]
    if any(not problems for problems in found.values()):
        for node, problems in found.items():
            for problem in problems:
                text = f"{node} can't take {name}: {problem.message}"
                env.say(Note(Level.WARNING, "node-unfit", text, problem.hint))
        return []
    return [problem for problems in found.values() for problem in problems]


def goal_problems(
    state: ClusterState, seen: VmStatus, goal: Target, settings: VmSettings
) -> list[VmMgrError]:
    """Refuse what is no move, or one that the VM's own settings or the nodes don't allow."""
    to = goal.to
    problems, pinned = host_problems(state, to, now=True), settings.pinned_host
    hosts = {node.name for node in state.nodes if node.can_host}
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
    elif to is None and not able - goal.avoiding:
        drained = able & goal.avoiding
        message = f"no other node can take {seen.name} now"
        message += f": also drained are {', '.join(sorted(drained))}" if drained else ""
        problems.append(VmMgrError(Kind.NO_RESOURCES, message, hint="see the nodes: crm_mon -1"))
    return problems


def side_effect_problems(
    env: Env, state: ClusterState, vm: VmResource, source: NodeName, goal: Target
) -> list[VmMgrError]:
    """Refuse what the cluster's rules would make a stop: of a VM for which no node is left, or of others.

    That a VM without live migration is itself stopped and started is its move: it was told before.
    """
    try:
        found = env.cluster.simulate_move(vm.name, away_from=source, avoiding=goal.avoiding)
    except VmMgrError as error:
        text = f"what else the move of {vm.name} would do can't be simulated: {error.message}"
        env.say(Note(Level.WARNING, "not-foreseen", text, error.hint))
        return []
    problems = []
    for name, harm in found.items():
        text = f"if {vm.name} left {source}, {name} would be {harm.value}"
        hint = f"see what keeps it: vm-mgr show {name}; crm_mon -1"
        if name not in state.resources or not state.resources[name].is_vm:
            continue
        if harm is SideEffect.STOPPED:
            problems.append(VmMgrError(Kind.NO_RESOURCES, f"{text}: no other node may take it", hint=hint))
        elif name == vm.name and not vm.live_migration:
            continue
        elif not goal.allow_restart:
            problems.append(VmMgrError(Kind.WRONG_STATE, text, hint="allow that: --restart-others"))
        else:
            env.say(Note(Level.WARNING, "restarts", text, hint))
    return problems


def _problems(env: Env, state: ClusterState, name: VmName, node: NodeName, xml: str) -> list[VmMgrError]:
    problems = _storage_problems(env, state, name, node)
    try:
        return problems + (env.hypervisor_at(node).migration_problems(xml) if xml else [])
    except VmMgrError as error:
        return [*problems, _unreachable(node, error)]


def _storage_problems(env: Env, state: ClusterState, name: VmName, node: NodeName) -> list[VmMgrError]:
    """Refuse a node where what mounts and guards the VM's disks does not run, or can't be promoted."""
    label = env.storages.label_of(name)
    missing = missing_resources(state, env.storages.cluster_parts(label, name), node) if label else []
    return [
        VmMgrError(
            Kind.WRONG_STATE,
            f"the storage of {name} is not active on {node}: {resource} does not run there",
            hint=f"see why: crm_mon -1; crm_resource --why -r {resource}",
        )
        for resource in missing
    ]


def _unfit(name: VmName, node: NodeName, reason: str) -> VmMgrError:
    message = f"{node} suits {name} worse than its present node: {reason}; it would be moved back at once"
    hint = f"mend that, or have the VM not care: vm-mgr set {name} --uplink ignore"
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

"""Look, before anything moves, for what would keep a running VM from arriving."""

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import ClusterState, NodeName
from vm_mgr.model.vm import VmName
from vm_mgr.operations.obstacles import misfit, without
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note, Progress

__all__ = ["arrival_problems"]


def arrival_problems(
    env: Env,
    state: ClusterState,
    name: VmName,
    source: NodeName,
    to: NodeName | None,
    avoiding: frozenset[NodeName] = frozenset(),
) -> list[VmMgrError]:
    """Ask the node, or each that the cluster may choose: then one that can take the VM is enough."""
    env.say(Progress(f"looking whether {name} can move"))
    try:
        xml = env.hypervisor_at(source).running_definition(name)
    except VmMgrError as error:
        return [_unreachable(source, error)]
    others = [node.name for node in state.nodes if node.can_host and node.name not in {source, *avoiding}]
    vm = env.cluster.configured(name).vm
    found = {node: _problems(env, state, name, node, xml) for node in ([to] if to else others)}
    if vm is not None:
        for node, problems in found.items():
            problems += [_unfit(name, node, reason) for reason in misfit(state, vm, source, node)]
    if any(not problems for problems in found.values()):
        for node, problems in found.items():
            for problem in problems:
                text = f"{node} can't take {name}: {problem.message}"
                env.say(Note(Level.WARNING, "node-unfit", text, problem.hint))
        return []
    return [problem for problems in found.values() for problem in problems]


def _problems(env: Env, state: ClusterState, name: VmName, node: NodeName, xml: str) -> list[VmMgrError]:
    problems = _storage_problems(env, state, name, node)
    try:
        return problems + env.hypervisor_at(node).can_take(xml)
    except VmMgrError as error:
        return [*problems, _unreachable(node, error)]


def _storage_problems(env: Env, state: ClusterState, name: VmName, node: NodeName) -> list[VmMgrError]:
    """Refuse a node where what mounts and guards the VM's disks does not run."""
    label = env.storages.of(name)
    needed = env.storages.requirement(label) if label else ""
    if not without(state, needed, node):
        return []
    message = f"the storage of {name} is not active on {node}: {needed} does not run there"
    return [
        VmMgrError(Kind.WRONG_STATE, message, hint=f"see why: crm_mon -1; crm_resource --why -r {needed}")
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

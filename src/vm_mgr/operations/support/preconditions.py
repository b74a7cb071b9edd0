"""Check what operations have in common; checks never change anything.

A wish that the cluster can't fulfil now is refused, not left behind: it would act later, when nobody expects
it. NEEDS says of each command what it asks of the cluster; what is not in the way of that may go on
(docs/design/0028).
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from enum import Flag, auto

from vm_mgr.errors import Kind, UnknownNameError, VmMgrError, raise_all
from vm_mgr.model.cluster import ClusterState, Node, NodeName, Resource
from vm_mgr.model.vm import VmName, VmState
from vm_mgr.operations.support.removal import clone_problems, removal_problems
from vm_mgr.operations.support.vm_state import derive_status, no_host_words, unmanaged_words
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note, Progress

__all__ = [
    "NEEDS",
    "Need",
    "action_problems",
    "fencing_hint",
    "fencing_under_way",
    "host_problems",
    "name_conflicts",
    "no_vm",
    "node_name_error",
    "quorum_problems",
    "require_defined",
    "require_ready",
    "resource_of",
    "running_node",
    "steady_problems",
    "unmanaged_problems",
    "warn_without_fencing",
]

POLL_S = 0.25
# How long a command waits for the end of a fencing. One that works takes seconds.
FENCING_S = 20.0
# How long ago a fencing may have failed to be the one that hangs now.
RECENT_S = 600.0


class Need(Flag):
    """What a command asks of the cluster."""

    NOTHING = 0  # it reads, or changes what storage or guest have
    QUORUM = auto()  # to be told the truth, or to change the configuration
    STOP = auto()  # to stop the VM, if it runs
    START = auto()  # to start it, if it does not
    MOVE = auto()  # to move it


_CONFIGURATION, _CYCLE = Need.QUORUM, Need.STOP | Need.START

NEEDS: Mapping[str, Need] = {
    **dict.fromkeys(("start", "enable"), Need.START),
    **dict.fromkeys(("stop", "disable", "remove"), Need.STOP),
    **dict.fromkeys(("restart", "rollback"), _CYCLE),
    **dict.fromkeys(("create", "clone", "add-to-cluster", "import"), _CYCLE),
    **dict.fromkeys(("migrate", "drain"), Need.MOVE),
    **dict.fromkeys(("add-colocation", "separate", "remove-colocation", "set", "rename"), _CONFIGURATION),
    **dict.fromkeys(("add-pacemaker-remote", "remove-pacemaker-remote", "unmigrate"), _CONFIGURATION),
    **dict.fromkeys(("add-disk", "remove-disk", "resize-disk", "pause", "resume"), Need.QUORUM),
    **dict.fromkeys(("create-snapshot", "edit", "flatten", "repair", "events"), Need.QUORUM),
    **dict.fromkeys(("purge", "remove-snapshot", "set-metadata", "remove-metadata"), Need.QUORUM),
    **dict.fromkeys(("list", "list-colocation", "list-metadata", "list-snapshots"), Need.NOTHING),
    **dict.fromkeys(("console", "get-metadata", "release-node", "show", "status", "timeouts"), Need.NOTHING),
    **dict.fromkeys(("address", "exec", "screenshot"), Need.NOTHING),
}


def quorum_problems(state: ClusterState) -> list[VmMgrError]:
    """Refuse to change a cluster that can't act."""
    if state.quorate:
        return []
    offline = ", ".join(node.name for node in state.nodes if not node.online)
    hint = f"bring a majority of the nodes back (offline: {offline or 'none'}); see: crm_mon -1"
    return [VmMgrError(Kind.TRY_LATER, "the cluster has no quorum", hint=hint)]


def fencing_hint(state: ClusterState, name: str) -> str:
    """Say what has to happen to a node that is lost and not yet fenced; nothing for any other one."""
    node = state.node(name)
    if node is None or not node.unclean:
        return ""
    confirm = f"mend its BMC or, only if you know that it is off: stonith_admin --confirm {name}"
    return f"the cluster goes on once {name} is fenced (see: crm_mon -1); if that fails, {confirm}"


def host_problems(state: ClusterState, host: str | None, *, now: bool = False) -> list[VmMgrError]:
    """Refuse a node that can't run VMs; with now, also one that can't at this moment."""
    if host is None:
        return []
    node = state.node(host)
    if node is None:
        message, known = f"the cluster has no node {host!r}", (one.name for one in state.nodes)
        return [UnknownNameError(message, host, known, hint=_hosts_hint(state))]
    if node.observer:
        message = f"{host} is an observer and never runs VMs"
        return [VmMgrError(Kind.INVALID, message, hint=_hosts_hint(state))]
    if not node.online:
        hint = fencing_hint(state, host) or _hosts_hint(state)
        return [VmMgrError(Kind.WRONG_STATE, f"node {host} is offline", hint=hint)]
    if now and not node.can_host:
        hint = _hosts_hint(state)
        if node.standby:  # which of both it was, crm_mon does not tell
            end = f"crm_standby -N {host} -D"
            hint += f"; end the standby: {end} -l reboot (after a drain), {end} (of any other)"
        message = f"node {host} is in standby or maintenance, or shuts down"
        return [VmMgrError(Kind.WRONG_STATE, message, hint=hint)]
    return []


def _hosts_hint(state: ClusterState) -> str:
    return f"nodes that can run VMs now: {', '.join(state.hosts) or 'none'}"


def resource_of(env: Env, state: ClusterState, name: VmName) -> Resource:
    """Give a VM's resource, or say what the VM is instead."""
    resource = state.resources.get(name)
    if resource is not None and resource.is_vm:
        return resource
    if env.storage.definitions.exists(name):
        raise VmMgrError(Kind.WRONG_STATE, f"{name} is Disabled", hint=f"enable it: vm-mgr enable {name}")
    raise no_vm(env, name, [known for known, one in state.resources.items() if one.is_vm])


def running_node(env: Env, state: ClusterState, name: VmName) -> NodeName:
    """Name the node where a VM runs, if it can be asked there."""
    resource = resource_of(env, state, name)
    if not resource.active or not resource.nodes:
        hint = f"start it: vm-mgr start {name}"
        raise VmMgrError(Kind.WRONG_STATE, f"{name} does not run", hint=hint)
    node = state.node(resource.nodes[0])
    if node is None or not node.online or node.unclean:
        message = f"{name} was last seen on {resource.nodes[0]}, which is lost"
        hint = fencing_hint(state, resource.nodes[0]) or f"check again: vm-mgr status {name}"
        raise VmMgrError(Kind.WRONG_STATE, message, hint=hint)
    return node.name


def steady_problems(state: ClusterState, name: VmName) -> list[VmMgrError]:
    """Refuse a VM that is on its way: whether its guest can be told of a change is open."""
    resource = state.resources.get(name)
    if resource is None or not resource.is_vm:
        return []
    seen = derive_status(resource, state)
    on_its_way = seen.state in (VmState.STARTING, VmState.STOPPING) or seen.moving
    if not on_its_way and not (seen.state is VmState.FAILED and resource.active):
        return []
    message = f"{name} is {seen.state.value}" + (f" ({seen.detail})" if seen.detail else "")
    return [
        VmMgrError(Kind.TRY_LATER, message, hint=f"wait until it runs or has stopped: vm-mgr status {name}")
    ]


def _other_resource(state: ClusterState, name: VmName) -> str:
    """Say what else in the cluster has a name; empty for a VM, and for a name that is free."""
    resource = state.resources.get(name)
    if resource is None:
        return f"group, clone or bundle {name}" if name in state.sets else ""
    return "" if resource.is_vm else f"resource {name} of type {resource.agent}"


def name_conflicts(
    env: Env, state: ClusterState, name: VmName, *, force: bool, storage: str = ""
) -> list[VmMgrError]:
    """Refuse a name that another resource has, or a VM that is not to be, or can't be, replaced.

    Raises NOT_FOUND for a storage that does not exist.
    """
    storage = storage or env.storages.labels()[0]
    env.storages.get(storage)
    if str(name) in [node.name for node in state.nodes]:
        return [node_name_error(name)]
    resource = state.resources.get(name)
    other = _other_resource(state, name)
    if other:
        return [VmMgrError(Kind.EXISTS, f"the cluster has a {other}", hint="choose another name")]
    present = env.storages.label_of(name)
    if resource is None and not present:
        return []
    if force and present not in ("", storage):
        message = f"{name} is in the storage {present}; it can't be replaced by a VM in {storage}"
        hint = f"remove it first: vm-mgr remove {name}; or choose --storage {present}"
        return [VmMgrError(Kind.WRONG_STATE, message, hint=hint)]
    if force:
        return clone_problems(env, name) + removal_problems(env, resource, "not replaced")
    hint = "choose another name, or replace it and its disks: --force"
    return [VmMgrError(Kind.EXISTS, f"there is a VM {name} already", hint=hint)]


def node_name_error(name: str) -> VmMgrError:
    """Say that a name is a node's: events and Pacemaker's tools would mix both up."""
    return VmMgrError(Kind.EXISTS, f"{name} is a node of the cluster", hint="choose another name")


def require_defined(env: Env, name: VmName) -> None:
    """Refuse a VM that the storage does not have."""
    if not env.storage.definitions.exists(name):
        raise no_vm(env, name)


def no_vm(env: Env, name: str, others: Collection[str] = (), *, what: str = "VM") -> VmMgrError:
    """Say that there is no such VM; others: names that it could be beside those of the stored VMs."""
    known = set(others)
    with suppress(VmMgrError):  # one that has just denied the name, or is too slow to name all
        known |= env.storage.definitions.names()
    return UnknownNameError(f"there is no {what} {name!r}", name, known, hint="see the VMs: vm-mgr list")


def warn_without_fencing(env: Env, state: ClusterState) -> None:
    """Say loudly that without fencing a VM may run twice or not be recovered."""
    if state.fencing_enabled and (state.fence_devices or _fences_by_watchdog(env)):
        return
    what = "is disabled (stonith-enabled=false)" if not state.fencing_enabled else "has no working device"
    message = f"FENCING {what}: after the loss of a node its VMs may be corrupted or stay down"
    hint = "configure a fence device per node and set stonith-enabled=true"
    env.say(Note(Level.WARNING, "no-fencing", message, hint))


def _fences_by_watchdog(env: Env) -> bool:
    try:
        return env.timings.cluster().pacemaker.fences_by_watchdog
    except VmMgrError:
        return False


def require_ready(env: Env, verb: str, name: VmName, *, starts: bool = True) -> ClusterState:
    """Look at the cluster, and wait for a fencing that is under way; raises what is in the command's way.

    starts: whether the VM is to run in the end.
    """
    need = NEEDS[verb] if starts else NEEDS[verb] & ~Need.START
    deadline = env.clock.monotonic() + FENCING_S
    while True:
        state = env.cluster.state()
        lost = fencing_under_way(env, state) if state.quorate and _acts(state, need, name) else None
        if lost is None or env.clock.monotonic() > deadline:
            break
        env.say(Progress(f"waiting until {lost} is fenced"))
        env.clock.sleep(POLL_S)
    problems = action_problems(env, state, need, name) if state.quorate else quorum_problems(state)
    if problems:
        raise_all(problems)
    return state


def action_problems(env: Env, state: ClusterState, need: Need, name: VmName) -> list[VmMgrError]:
    """Say what keeps the cluster from what a command needs of it."""
    if not _acts(state, need, name):
        return []
    resource = state.resources.get(name)
    if problems := unmanaged_problems(env, state, name):
        return problems
    if state.stop_all and need & (Need.START | Need.MOVE):
        hint = "end it: crm_attribute --name stop-all-resources --delete"
        return [
            VmMgrError(Kind.WRONG_STATE, "stop-all-resources is set: the cluster runs nothing", hint=hint)
        ]
    if resource is not None and resource.blocked and not resource.blocked_on and need & Need.STOP:
        message = f"the cluster is blocked at {name}: {resource.last_failure or 'see crm_mon -1'}"
        return [VmMgrError(Kind.WRONG_STATE, message, hint=f"power it off: vm-mgr stop {name} --force")]
    if need & Need.START and not state.hosts:
        message, hint = _no_host(state)
        return [VmMgrError(Kind.NO_RESOURCES, message, hint=hint)]
    return _fencing_problems(state, need, name)


def unmanaged_problems(env: Env, state: ClusterState, name: VmName) -> list[VmMgrError]:
    """Refuse to act at a VM that the cluster leaves alone, and say how that is ended."""
    resource = state.resources.get(name)
    if not state.maintenance and (resource is None or resource.managed):
        return []
    words = unmanaged_words(state, resource)
    if not words:
        return []
    message = f"{name} is {words}"
    return [VmMgrError(Kind.WRONG_STATE, message, hint=_managed_hint(env, state, resource))]


def fencing_under_way(env: Env, state: ClusterState) -> NodeName | None:
    """Name a lost node whose fencing may end at any moment; of none is known that it fails."""
    lost = [node.name for node in state.nodes if node.unclean]
    return lost[0] if lost and not any(_fails(env, state, node) for node in lost) else None


def _fails(env: Env, state: ClusterState, node: NodeName) -> bool:
    """Tell whether the last try to fence it that has ended was a failure, a short time ago."""
    ends = [one for one in state.fencings if one.node == node and (one.succeeded or one.failed)]
    last = max(ends, key=lambda one: one.completed_utc or 0.0, default=None)
    if last is None or last.succeeded:
        return False
    return last.completed_utc is None or env.clock.utc() - last.completed_utc < RECENT_S


def _fencing_problems(state: ClusterState, need: Need, name: VmName) -> list[VmMgrError]:
    lost = [node.name for node in state.nodes if node.unclean]
    if not lost:
        return []
    message = f"{lost[0]} is lost and not yet fenced: until it is, the cluster does nothing else"
    hint = fencing_hint(state, lost[0])
    hint += f"; to power {name} off all the same: vm-mgr stop {name} --force" if need == Need.STOP else ""
    return [VmMgrError(Kind.TRY_LATER, message, hint=hint)]


def _acts(state: ClusterState, need: Need, name: VmName) -> bool:
    resource = state.resources.get(name)
    if resource is not None and resource.is_vm and resource.active:
        return bool(need & (Need.STOP | Need.MOVE)) or (Need.START in need and _is_lost(state, resource))
    return Need.START in need


def _is_lost(state: ClusterState, resource: Resource) -> bool:
    lost = {node.name for node in state.nodes if node.unclean}
    return not lost.isdisjoint(resource.nodes)


def _managed_hint(env: Env, state: ClusterState, resource: Resource | None) -> str:
    """Say how the cluster is made to manage a VM again, by what has ended that."""
    if state.maintenance:
        return "end it: crm_attribute --name maintenance-mode --delete"
    if resource is None:
        return ""
    for node in resource.nodes:
        if (seen := state.node(node)) is not None and seen.maintenance:
            return f"end it: crm_attribute --node {node} --name maintenance --delete"
    vm = env.cluster.configured(VmName(resource.name)).vm
    meta = vm.meta if vm is not None else {}
    own = next((key for key in ("maintenance", "is-managed") if key in meta), "")
    if own:
        return f"end it: crm_resource --resource {resource.name} --meta --delete-parameter {own}"
    return f"see who says so (defaults, group, template): crm_resource --resource {resource.name} --query-xml"


def _no_host(state: ClusterState) -> tuple[str, str]:
    """Say why no node can run VMs, and what ends that."""
    nodes = [node for node in state.nodes if not node.observer]
    return no_host_words(state), _way_out(nodes)


def _way_out(nodes: list[Node]) -> str:
    for node in nodes:
        if node.online and node.standby:
            return f"end a standby: crm_standby -N {node.name} -D -l reboot (after a drain), or without -l"
        if node.online and node.maintenance:
            return f"end a maintenance: crm_attribute --node {node.name} --name maintenance --delete"
    return "bring a node back; see: crm_mon -1"

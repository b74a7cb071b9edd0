"""Check what operations have in common; checks never change anything."""

from collections.abc import Sequence

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import OWN_AGENT, ClusterState, NodeName, Resource
from vm_mgr.model.vm import VmName, VmState
from vm_mgr.operations.support.vm_state import derive_status
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = [
    "clone_problems",
    "fencing_hint",
    "flatten_hint",
    "host_problems",
    "membership_problems",
    "name_conflicts",
    "node_name_error",
    "owners_of",
    "quorum_problems",
    "removal_problems",
    "require_defined",
    "resource_of",
    "running_node",
    "steady_problems",
    "warn_of_followers",
    "warn_without_fencing",
]

# Its parameter config names a file that nothing of ours has.
DISTRIBUTION_AGENT = "ocf:heartbeat:VirtualDomain"


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
        return [VmMgrError(Kind.NOT_FOUND, f"the cluster has no node {host!r}", hint=_hosts_hint(state))]
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
    raise VmMgrError(Kind.NOT_FOUND, f"there is no VM {name!r}", hint="see the VMs: vm-mgr list")


def membership_problems(resource: Resource | None, refusal: str) -> list[VmMgrError]:
    """Refuse what would break the group, clone or bundle that a VM is a part of."""
    if resource is None or not resource.within:
        return []
    kind, _, group = resource.within.partition(" ")
    name, hint = resource.name, "take it out with the tool that made this: crm or pcs"
    if kind == "group":
        hint = (
            f"ungroup it first: crm configure modgroup {group} remove {name}; or: pcs resource group remove"
        )
        hint += f" {group} {name}"
    return [VmMgrError(Kind.WRONG_STATE, f"{name} is {refusal}: it is in the {resource.within}", hint=hint)]


def removal_problems(env: Env, resource: Resource | None, refusal: str) -> list[VmMgrError]:
    """Refuse to take a resource out of the cluster that nothing stored can bring back as it was."""
    if resource is None or not resource.is_vm:
        return []
    problems, name = membership_problems(resource, refusal), resource.name
    lost = not env.storage.definitions.exists(VmName(name)) and resource.agent != OWN_AGENT
    if resource.agent == DISTRIBUTION_AGENT or lost:
        message = f"{name} is {refusal}: {resource.agent} runs it, whose parameters would be lost"
        hint = f"remove it with the tool that made it: vm-mgr stop {name}; crm configure delete {name}"
        problems.append(VmMgrError(Kind.NOT_SUPPORTED, message, hint=hint))
    return problems


def warn_of_followers(env: Env, resource: Resource | None) -> None:
    """Say who else stops with a VM that is stopped."""
    if resource is not None and resource.active and resource.followers:
        text = f"with {resource.name} stop those that follow it in the {resource.within}"
        hint = f"they start again after it: vm-mgr start {resource.name}"
        env.say(Note(Level.WARNING, "followers", f"{text}: {', '.join(resource.followers)}", hint))


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


def clone_problems(env: Env, name: VmName) -> list[VmMgrError]:
    """Refuse to delete disks whose blocks others share."""
    clones = env.storage.clones.of(name)
    if not clones:
        return []
    owners = owners_of(env, clones)
    message = f"{name} can't be removed; clones share its blocks: {', '.join(owners)}"
    return [VmMgrError(Kind.WRONG_STATE, message, hint=flatten_hint(env, owners))]


def owners_of(env: Env, images: Sequence[str]) -> list[str]:
    """Name the VMs that these disks belong to; a disk that belongs to none stands for itself."""
    owners = {image: vm for vm in env.storage.definitions.names() for image in env.storage.clients.images(vm)}
    return sorted({owners.get(image, image) for image in images})


def flatten_hint(env: Env, owners: Sequence[str]) -> str:
    """Say how a clone becomes independent; one that is being made just now has no name yet."""
    vms = [owner for owner in owners if env.storage.definitions.exists(VmName(owner))]
    return f"make them independent first: vm-mgr flatten {vms[0]}" if vms else "see: vm-mgr repair"


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
        raise VmMgrError(Kind.NOT_FOUND, f"there is no VM {name!r}", hint="see the VMs: vm-mgr list")


def warn_without_fencing(env: Env, state: ClusterState) -> None:
    """Say loudly that without fencing a VM may run twice or not be recovered."""
    if state.fencing_enabled and state.fence_devices:
        return
    what = "is disabled (stonith-enabled=false)" if not state.fencing_enabled else "has no working device"
    message = f"FENCING {what}: after the loss of a node its VMs may be corrupted or stay down"
    hint = "configure a fence device per node and set stonith-enabled=true"
    env.say(Note(Level.WARNING, "no-fencing", message, hint))

"""Check what operations have in common; checks never change anything."""

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import ClusterState, Resource
from vm_mgr.model.vm import VmName
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = [
    "clone_problems",
    "host_problems",
    "name_conflicts",
    "quorum_problems",
    "require_defined",
    "resource_of",
    "warn_without_fencing",
]


def quorum_problems(state: ClusterState) -> list[VmMgrError]:
    """Refuse to change a cluster that can't act."""
    if state.quorate:
        return []
    offline = ", ".join(node.name for node in state.nodes if not node.online)
    hint = f"bring a majority of the nodes back (offline: {offline or 'none'}); see: crm_mon -1"
    return [VmMgrError(Kind.TRY_LATER, "the cluster has no quorum", hint=hint)]


def host_problems(state: ClusterState, host: str | None, *, now: bool = False) -> list[VmMgrError]:
    """Refuse a node that can't run VMs; with now, also one that can't at this moment."""
    if host is None:
        return []
    able = ", ".join(node.name for node in state.nodes if node.can_host) or "none"
    hint = f"nodes that can run VMs now: {able}"
    node = state.node(host)
    if node is None:
        return [VmMgrError(Kind.NOT_FOUND, f"the cluster has no node {host!r}", hint=hint)]
    if node.observer:
        return [VmMgrError(Kind.INVALID, f"{host} is an observer and never runs VMs", hint=hint)]
    if not node.online:
        return [VmMgrError(Kind.WRONG_STATE, f"node {host} is offline", hint=hint)]
    if now and not node.can_host:
        return [VmMgrError(Kind.WRONG_STATE, f"node {host} is in standby or maintenance", hint=hint)]
    return []


def resource_of(env: Env, state: ClusterState, name: VmName) -> Resource:
    """Give a VM's resource, or say what the VM is instead."""
    resource = state.resources.get(name)
    if resource is not None and resource.is_vm:
        return resource
    if env.storage.exists(name):
        raise VmMgrError(Kind.WRONG_STATE, f"{name} is Disabled", hint=f"enable it: vm-mgr enable {name}")
    raise VmMgrError(Kind.NOT_FOUND, f"there is no VM {name!r}", hint="see the VMs: vm-mgr list")


def clone_problems(env: Env, name: VmName) -> list[VmMgrError]:
    """Refuse to delete disks whose blocks others share."""
    clones = env.storage.dependents(name)
    if not clones:
        return []
    message = f"{name} can't be removed; clones share its blocks: {', '.join(clones)}"
    hint = f"make them independent first: rbd flatten {clones[0]}"
    return [VmMgrError(Kind.WRONG_STATE, message, hint=hint)]


def name_conflicts(env: Env, state: ClusterState, name: VmName, *, force: bool) -> list[VmMgrError]:
    """Refuse a name that another resource has, or a VM that is not to be, or can't be, replaced."""
    resource = state.resources.get(name)
    if resource is not None and not resource.is_vm:
        message = f"the cluster has a resource {name} of type {resource.agent}"
        return [VmMgrError(Kind.EXISTS, message, hint="choose another name")]
    if resource is None and not env.storage.exists(name):
        return []
    if force:
        return clone_problems(env, name)
    hint = "choose another name, or replace it and its disks: --force"
    return [VmMgrError(Kind.EXISTS, f"there is a VM {name} already", hint=hint)]


def require_defined(env: Env, name: VmName) -> None:
    """Refuse a VM that the storage does not have."""
    if not env.storage.exists(name):
        raise VmMgrError(Kind.NOT_FOUND, f"there is no VM {name!r}", hint="see the VMs: vm-mgr list")


def warn_without_fencing(env: Env, state: ClusterState) -> None:
    """Say loudly that without fencing a VM may run twice or not be recovered."""
    if state.fencing_enabled and state.fence_devices:
        return
    what = "is disabled (stonith-enabled=false)" if not state.fencing_enabled else "has no working device"
    message = f"FENCING {what}: after the loss of a node its VMs may be corrupted or stay down"
    hint = "configure a fence device per node and set stonith-enabled=true"
    env.say(Note(Level.WARNING, "no-fencing", message, hint))

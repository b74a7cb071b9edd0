"""Say what depends on a VM or on its disks, before it stops or goes; checks never change anything."""

from collections.abc import Sequence

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import OWN_AGENT, Resource
from vm_mgr.model.vm import VmName
from vm_mgr.operations.support.vm_state import membership_problems
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = [
    "clone_problems",
    "flatten_hint",
    "owners_of",
    "removal_problems",
    "standing_problems",
    "warn_of_followers",
]


def removal_problems(env: Env, resource: Resource | None, refusal: str) -> list[VmMgrError]:
    """Refuse to take a resource out of the cluster that nothing stored can bring back as it was."""
    if resource is None or not resource.is_vm:
        return []
    problems, name = membership_problems(resource, refusal), resource.name
    # Of one that a storage has, as SEAPATH's tools make them, `enable` makes one of ours.
    if resource.agent != OWN_AGENT and not env.storage.definitions.exists(VmName(name)):
        message = f"{name} is {refusal}: {resource.agent} runs it, whose parameters would be lost"
        hint = f"remove it with the tool that made it: vm-mgr stop {name}; crm configure delete {name}"
        problems.append(VmMgrError(Kind.NOT_SUPPORTED, message, hint=hint))
    return problems


def standing_problems(resource: Resource) -> list[VmMgrError]:
    """Refuse a VM that runs: its disks are to be copied."""
    if not resource.active:
        return []
    hint = f"it has to stand while its disks are copied: vm-mgr stop {resource.name}"
    return [VmMgrError(Kind.WRONG_STATE, f"{resource.name} runs", hint=hint)]


def warn_of_followers(env: Env, resource: Resource | None) -> None:
    """Say who else stops with a VM that is stopped."""
    if resource is not None and resource.active and resource.followers:
        text = f"with {resource.name} stop those that follow it in the {resource.within}"
        hint = f"they start again after it: vm-mgr start {resource.name}"
        env.say(Note(Level.WARNING, "followers", f"{text}: {', '.join(resource.followers)}", hint))


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

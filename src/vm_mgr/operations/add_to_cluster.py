"""Take over a VM that one node's own libvirt keeps."""

from collections.abc import Sequence
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.cluster import OWN_AGENT
from vm_mgr.model.vm import VmName, VmSettings, VmStatus
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.ports.definition import HardDisk
from vm_mgr.ports.env import Env

__all__ = ["Takeover", "add_to_cluster"]

TIMEOUT_S = 10.0


class Takeover(NamedTuple):
    """Which domain of this node to take over, and how it is to be; image replaces its first disk."""

    domain: VmName
    name: VmName
    settings: VmSettings = VmSettings()
    image: str = ""
    enable: bool = True
    start: bool = True
    force: bool = False
    storage: str = ""
    allow: tuple[str, ...] = ()


def add_to_cluster(env: Env, request: Takeover) -> VmStatus:
    """Copy all disks of a stopped domain, compare them, then have libvirt forget it; its files stay."""
    raise_all(_agent_problems(env, request.domain))
    xml = env.hypervisor.definition(request.domain)
    state = env.hypervisor.domain_state(request.domain, timeout_s=TIMEOUT_S)
    if state != "shut off":
        hint = f"shut it down: virsh shutdown {request.domain}"
        raise VmMgrError(Kind.WRONG_STATE, f"{request.domain} is {state}, not shut off", hint=hint)
    disks = env.definitions.hard_disks(xml)
    if request.image:
        disks = [HardDisk("", request.image, ""), *disks[1:]]
    raise_all(_problems(request.domain, disks))
    return create(
        env,
        CreateRequest(
            name=request.name,
            xml=xml,
            images=tuple(disk.path for disk in disks),
            settings=request.settings,
            enable=request.enable,
            start=request.start,
            force=request.force,
            formats=tuple(disk.format or None for disk in disks),
            verify=True,
            local=request.domain,
            storage=request.storage,
            allow=request.allow,
        ),
    )


def _agent_problems(env: Env, domain: VmName) -> list[VmMgrError]:
    """Refuse what the cluster runs by another agent: that one would start it again beside the new VM."""
    resource = env.cluster.state().resources.get(domain)
    if resource is None or not resource.is_vm or resource.agent == OWN_AGENT:
        return []
    message = f"{domain} is a resource of the cluster already, run by {resource.agent}"
    hint = (
        f"stop it, take its disks over by a copy, then remove it: vm-mgr stop {domain}; "
        f"vm-mgr create NEW --xml CONFIG --image DISK; crm configure delete {domain}"
    )
    return [VmMgrError(Kind.WRONG_STATE, message, hint=hint)]


def _problems(domain: VmName, disks: Sequence[HardDisk]) -> list[VmMgrError]:
    """Refuse what can't be copied: leaving one disk out would put the others in wrong places."""
    if not disks:
        hint = "give the image of its system disk: --image FILE"
        return [VmMgrError(Kind.INVALID, f"{domain} has no hard disk", hint=hint)]
    hint = f"copy it to a file and name that in the definition: virsh edit {domain}"
    return [
        VmMgrError(
            Kind.NOT_SUPPORTED,
            f"the disk {disk.target} of {domain} is neither a file nor a block device",
            hint=hint,
        )
        for disk in disks
        if not disk.path
    ]

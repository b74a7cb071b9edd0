"""Take over a VM that one node's own libvirt keeps."""

from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName, VmSettings, VmStatus
from vm_mgr.operations.create import CreateRequest, create
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


def add_to_cluster(env: Env, request: Takeover) -> VmStatus:
    """Copy all disks of a stopped domain, compare them, then have libvirt forget it; its files stay."""
    xml = env.hypervisor.definition(request.domain)
    state = env.hypervisor.domain_state(request.domain, timeout_s=TIMEOUT_S)
    if state != "shut off":
        hint = f"shut it down: virsh shutdown {request.domain}"
        raise VmMgrError(Kind.WRONG_STATE, f"{request.domain} is {state}, not shut off", hint=hint)
    files = env.definitions.disk_files(xml)
    if request.image:
        files = [(request.image, ""), *files[1:]]
    if not files:
        hint = "give the image of its system disk: --image FILE"
        raise VmMgrError(Kind.INVALID, f"{request.domain} has no disk that is a file or a device", hint=hint)
    return create(
        env,
        CreateRequest(
            name=request.name,
            xml=xml,
            images=tuple(path for path, _ in files),
            settings=request.settings,
            enable=request.enable,
            start=request.start,
            force=request.force,
            formats=tuple(image_format or None for _, image_format in files),
            verify=True,
            local=request.domain,
        ),
    )

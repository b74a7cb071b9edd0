"""Take over a VM that one node's own libvirt keeps, or that another tool's agent runs in the cluster."""

from collections.abc import Sequence
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.cluster import OWN_AGENT, Resource
from vm_mgr.model.nvram import NvramPlaces
from vm_mgr.model.vm import VmName, VmSettings, VmStatus
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.disable import tell_kept
from vm_mgr.operations.support.vm_state import membership_problems
from vm_mgr.ports.cluster import VmResource
from vm_mgr.ports.definition import HardDisk
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["Takeover", "add_to_cluster"]

TIMEOUT_S = 10.0


class Takeover(NamedTuple):
    """Which domain of this node to take over, and how it is to be; image replaces its first disk.

    xml: the text of its definition, for one that the cluster has and another tool's agent runs.
    """

    domain: VmName
    name: VmName
    settings: VmSettings = VmSettings()
    image: str = ""
    enable: bool = True
    start: bool = True
    force: bool = False
    storage: str = ""
    allow: tuple[str, ...] = ()
    xml: str = ""


def add_to_cluster(env: Env, request: Takeover) -> VmStatus:
    """Copy all disks of a stopped domain, compare them, then have libvirt forget it; its files stay.

    Of one that another tool's agent runs, the cluster's resource becomes ours in one step.
    """
    resource = env.cluster.state().resources.get(request.domain)
    if resource is not None and resource.is_vm and resource.agent != OWN_AGENT:
        return _take_resource(env, request, resource)
    if request.xml:
        hint = "leave out --xml: this node's libvirt has the definition of a domain outside of the cluster"
        message = f"no other tool's agent runs {request.domain} in the cluster"
        raise VmMgrError(Kind.INVALID, message, hint=hint)
    xml = env.hypervisor.definition(request.domain)
    state = env.hypervisor.domain_state(request.domain, timeout_s=TIMEOUT_S)
    if state != "shut off":
        hint = f"shut it down: virsh shutdown {request.domain}"
        raise VmMgrError(Kind.WRONG_STATE, f"{request.domain} is {state}, not shut off", hint=hint)
    return create(env, _request(env, request, xml)._replace(local=request.domain))


def _take_resource(env: Env, request: Takeover, resource: Resource) -> VmStatus:
    raise_all(_resource_problems(env, request, resource))
    asked = _request(env, request, request.xml)
    theirs = env.cluster.configured(request.domain).vm
    if theirs is not None:
        asked = asked._replace(settings=_with_theirs(asked.settings, theirs))
        if theirs.params:
            gone = ", ".join(f"{key}={value}" for key, value in sorted(theirs.params.items()))
            text = f"parameters of {resource.agent} that are not taken over: {gone}"
            hint = f"set what is still wanted: vm-mgr set {request.name}; its old files stay"
            env.say(Note(Level.WARNING, "not-kept", text, hint))
    tell_kept(env, resource)
    return create(env, asked._replace(resource=True))


def _request(env: Env, request: Takeover, xml: str) -> CreateRequest:
    disks = env.definitions.hard_disks(xml)
    if request.image:
        disks = [HardDisk("", request.image, ""), *disks[1:]]
    raise_all(_problems(request.domain, disks))
    return CreateRequest(
        name=request.name,
        xml=xml,
        images=tuple(disk.path for disk in disks),
        settings=request.settings,
        enable=request.enable,
        start=request.start,
        force=request.force,
        formats=tuple(disk.format or None for disk in disks),
        verify=True,
        storage=request.storage,
        allow=request.allow,
    )


def _resource_problems(env: Env, request: Takeover, resource: Resource) -> list[VmMgrError]:
    """Refuse what can't become ours by a copy in one step."""
    domain = request.domain
    message = f"{domain} is a resource of the cluster already, run by {resource.agent}"
    if env.storage.definitions.exists(domain):  # as SEAPATH's tools make them
        hint = f"its disks are where they belong: vm-mgr disable {domain}; vm-mgr enable {domain}"
        return [VmMgrError(Kind.WRONG_STATE, message, hint=hint)]
    stop = f"vm-mgr stop {domain}; " if resource.active else ""
    if not request.xml:
        theirs = env.cluster.configured(domain).vm
        config = theirs.params.get("config", "") if theirs is not None else ""
        hint = f"where its disks are: {stop}vm-mgr add-to-cluster {domain} --xml {config or 'DEFINITION'}"
        return [VmMgrError(Kind.WRONG_STATE, message, hint=hint)]
    if request.name != domain:
        message = f"{domain} keeps its name, which others may have in the cluster"
        return [VmMgrError(Kind.INVALID, message, hint="leave out --new-name; later: vm-mgr rename")]
    if not request.enable:
        message = f"{domain} is in the cluster, and stays there"
        return [VmMgrError(Kind.INVALID, message, hint="give --nostart instead of --disable")]
    problems = membership_problems(resource, "not taken over")
    places = env.definitions.nvram(request.xml)
    if places != NvramPlaces() and not env.nvram_files.read(places):
        message = f"this node has no UEFI variables or TPM of {domain}"
        hint = "run this on the node where it last ran"
        problems.append(VmMgrError(Kind.NOT_FOUND, message, hint=hint))
    return problems


def _with_theirs(settings: VmSettings, theirs: VmResource) -> VmSettings:
    """Take over how it was run, where nothing else is asked for."""
    return settings._replace(
        live_migration=settings.live_migration or theirs.live_migration,
        priority=theirs.priority if settings.priority is None else settings.priority,
        stop_timeout_s=settings.stop_timeout_s or theirs.stop_timeout_s,
    )


def _problems(domain: VmName, disks: Sequence[HardDisk]) -> list[VmMgrError]:
    """Refuse what can't be copied: leaving one disk out would put the others in wrong places."""
    if not disks:
        hint = "give the image of its system disk: --image FILE"
        return [VmMgrError(Kind.INVALID, f"{domain} has no hard disk", hint=hint)]
    problems = []
    for disk in disks:
        if not disk.path:
            message = f"the disk {disk.target} of {domain} is neither a file nor a block device"
            copy = f"qemu-img convert -O qcow2 {disk.network or 'SOURCE'} FILE"
            first = disk is disks[0]
            use = "run this again with --image FILE" if first else "name FILE in the definition"
            hint = f"copy it while nobody writes to it: {copy}; then {use}"
            problems.append(VmMgrError(Kind.NOT_SUPPORTED, message, hint=hint))
    return problems

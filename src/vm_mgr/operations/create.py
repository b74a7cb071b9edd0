"""Create a VM from a disk image and a domain definition."""

from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.cluster import ClusterState
from vm_mgr.model.storage import ImageFile
from vm_mgr.model.vm import VmName, VmSettings, VmState, VmStatus, name_problems
from vm_mgr.operations.checks import host_problems, quorum_problems, warn_without_fencing
from vm_mgr.operations.disable import withdraw
from vm_mgr.operations.enable import enable, resource_for
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note, Progress

__all__ = ["CreateRequest", "create"]

BUSES = ("virtio", "scsi", "sata", "ide", "usb")


class CreateRequest(NamedTuple):
    """What to create; xml is the text of the definition, image the path of a qcow2 file."""

    name: VmName
    xml: str
    image: str
    settings: VmSettings = VmSettings()
    enable: bool = True
    start: bool = True
    force: bool = False


def create(env: Env, request: CreateRequest) -> VmStatus:
    """Check everything, import, describe, then show the VM to the cluster and wait until it runs.

    Once the import is committed the disk stays, whatever becomes of the start.
    """
    state = env.cluster.state()
    raise_all(name_problems(request.name) + quorum_problems(state))
    defined = env.storage.names()
    image, problems = _inspect(env, request.image)
    problems += _conflicts(request, state, defined)
    problems += env.definitions.problems(request.xml) or _uuid_problems(env, request)
    problems += _setting_problems(state, request.settings)
    raise_all(problems)
    assert image is not None  # noqa: S101 - its problems have been raised
    if request.enable:
        warn_without_fencing(env, state)
    _import(env, request, image, replacing=request.name in state.resources)
    if not request.enable:
        return VmStatus(request.name, VmState.DISABLED)
    return enable(env, request.name, start=request.start)


def _import(env: Env, request: CreateRequest, image: ImageFile, *, replacing: bool) -> None:
    name = request.name
    disk = env.storage.system_disk(name, request.settings.disk_bus)
    prepared = env.definitions.prepare(request.xml, name, [disk])
    if prepared.foreign_disks:
        message = (
            f"{name} has disks that are not in the cluster's storage: {', '.join(prepared.foreign_disks)}"
        )
        env.say(Note(Level.WARNING, "foreign-disks", message, "the VM can only start where they exist"))
    with env.storage.stage(name, image.size_bytes) as staged:
        staged.fill(image, lambda fraction: env.say(Progress(f"importing {image.path}", fraction)))
        staged.describe(xml=prepared.xml, base_xml=request.xml, settings=request.settings)
        with ExitStack() as undo:
            if replacing:
                old = env.storage.settings(name)
                withdraw(env, name)
                undo.callback(env.cluster.add, resource_for(env, name, old, start=True))
            staged.commit()
            undo.pop_all()


def _inspect(env: Env, path: str) -> tuple[ImageFile | None, list[VmMgrError]]:
    try:
        return env.storage.inspect(path), []
    except VmMgrError as error:
        if error.kind in (Kind.INVALID, Kind.NOT_FOUND, Kind.EXTERNAL_FAILURE):
            return None, [error]
        raise


def _conflicts(request: CreateRequest, state: ClusterState, defined: AbstractSet[VmName]) -> list[VmMgrError]:
    name = request.name
    resource = state.resources.get(name)
    if resource is not None and not resource.is_vm:
        message = f"the cluster has a resource {name} of type {resource.agent}"
        return [VmMgrError(Kind.EXISTS, message, hint="choose another name")]
    if (resource is None and name not in defined) or request.force:
        return []
    hint = f"choose another name, or replace it and its disk: vm-mgr create --force --name {name} …"
    return [VmMgrError(Kind.EXISTS, f"there is a VM {name} already", hint=hint)]


def _uuid_problems(env: Env, request: CreateRequest) -> list[VmMgrError]:
    wanted = env.definitions.uuid(request.xml)
    if not wanted:
        return []
    for other, xml in env.storage.definitions().items():
        if (
            other != request.name
            and not env.definitions.problems(xml)
            and env.definitions.uuid(xml) == wanted
        ):
            hint = "remove the <uuid> element; a new one is generated"
            return [VmMgrError(Kind.EXISTS, f"the UUID {wanted} belongs to the VM {other}", hint=hint)]
    return []


def _setting_problems(state: ClusterState, settings: VmSettings) -> list[VmMgrError]:
    problems = host_problems(state, settings.pinned_host) + host_problems(state, settings.preferred_host)
    if settings.pinned_host and settings.preferred_host:
        message = "a VM is either pinned to a host or prefers one"
        problems.append(VmMgrError(Kind.INVALID, message, hint="drop --pinned-host or --preferred-host"))
    if settings.disk_bus is not None and settings.disk_bus not in BUSES:
        hint = f"use one of {', '.join(BUSES)}"
        problems.append(VmMgrError(Kind.INVALID, f"unknown disk bus {settings.disk_bus!r}", hint=hint))
    for key in settings.user_metadata:
        if not (key.isascii() and key.isalnum()) or key == "xml":
            hint = "use letters and digits only; xml is reserved"
            problems.append(VmMgrError(Kind.INVALID, f"{key!r} is not a valid metadata key", hint=hint))
    return problems

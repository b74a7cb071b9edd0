"""Create a VM from a disk image and a domain definition."""

from functools import partial
from itertools import zip_longest
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.cluster import ClusterState, NodeName
from vm_mgr.model.mark import Mark
from vm_mgr.model.storage import ImageFile
from vm_mgr.model.vm import (
    TargetRole,
    VmName,
    VmSettings,
    VmState,
    VmStatus,
    metadata_key_problems,
    name_problems,
)
from vm_mgr.operations.alone import alone, marked
from vm_mgr.operations.checks import host_problems, name_conflicts, quorum_problems, warn_without_fencing
from vm_mgr.operations.disable import halt, role_of
from vm_mgr.operations.enable import resource_for
from vm_mgr.operations.status import status
from vm_mgr.operations.stillness import release
from vm_mgr.operations.waiting import wait_started
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note, Progress

__all__ = [
    "CreateRequest",
    "await_state",
    "clone_snapshot",
    "create",
    "new_token",
    "put_in_cluster",
    "setting_problems",
    "settle",
]

TOKEN = "_vm_mgr_made"  # noqa: S105 - it tells one making from another
BUSES = ("virtio", "scsi", "sata", "ide", "usb")


class CreateRequest(NamedTuple):
    """What to create; xml is the text of the definition, the images are paths, the system disk's first.

    formats: of the images one by one; where there is none, or None, all but raw ones are recognised.
    verify: read everything again and compare. local: the domain of this node's libvirt that is taken over,
    and forgotten there once all is copied.
    """

    name: VmName
    xml: str
    images: tuple[str, ...]
    settings: VmSettings = VmSettings()
    enable: bool = True
    start: bool = True
    force: bool = False
    formats: tuple[str | None, ...] = ()
    verify: bool = False
    local: str = ""


def create(env: Env, request: CreateRequest) -> VmStatus:
    """Check everything, import, describe, then show the VM to the cluster and wait until it runs.

    Once the import is committed the disk stays, whatever becomes of the start.
    """
    name = request.name
    raise_all(name_problems(name) + quorum_problems(env.cluster.state()))
    with alone(env, name):
        state = env.cluster.state()
        images, problems = _inspect(env, request)
        problems += name_conflicts(env, state, name, force=request.force)
        problems += env.definitions.problems(request.xml) or _uuid_problems(env, request)
        problems += setting_problems(state, request.settings)
        raise_all(problems)
        if request.enable:
            warn_without_fencing(env, state)
        old = state.resources.get(name)
        token = new_token(env)
        with marked(
            env,
            name,
            "create",
            token=token,
            was=role_of(old),
            enable=flag(request.enable),
            start=flag(request.start),
            local=request.local,
        ):
            _import(env, request, images, token=token, replacing=old is not None)
            if request.local:
                env.hypervisor.undefine(VmName(request.local))
            if request.enable:
                put_in_cluster(env, name, start=request.start)
    return await_state(env, name, enabled=request.enable, started=request.start)


def settle(env: Env, name: VmName, mark: Mark) -> None:
    """Finish a creation that was committed; take any other back, with what it was to replace."""
    env.storage.unstage(name)
    source = VmName(mark.details.get("source", ""))
    if source and env.storage.exists(source):
        release(env, source)
        env.snapshots.drop_snapshot(source, clone_snapshot(name))
    if not env.storage.exists(name):
        return
    present = name in env.cluster.state().resources
    was = mark.details["was"]
    if env.storage.metadata(name).get(TOKEN) == mark.details["token"]:
        if mark.details.get("local"):
            env.hypervisor_at(NodeName(mark.node)).undefine(VmName(mark.details["local"]))
        if mark.details["enable"] and not present:
            put_in_cluster(env, name, start=bool(mark.details["start"]))
    elif was and present:
        env.cluster.set_target_role(name, TargetRole(was))
    elif was:
        put_in_cluster(env, name, start=was == TargetRole.STARTED.value)


def put_in_cluster(env: Env, name: VmName, *, start: bool) -> None:
    """Write the resource of a VM as its stored settings say."""
    env.cluster.add(resource_for(env, name, env.storage.settings(name), start=start))


def await_state(env: Env, name: VmName, *, enabled: bool, started: bool) -> VmStatus:
    """Wait for what a new VM was asked to be."""
    if not enabled:
        return VmStatus(name, VmState.DISABLED)
    return wait_started(env, name) if started else status(env, name)


def clone_snapshot(name: VmName) -> str:
    """Name the snapshot of a clone's source, for the moment of its making."""
    return f"vm-mgr-clone-{name}"


def new_token(env: Env) -> str:
    """Make what tells the VM that an operation makes from the one that it replaces."""
    return f"{env.cluster.local_node()}-{env.clock.utc():.6f}"


def flag(value: bool) -> str:  # noqa: FBT001 - it is all there is to say
    """Write a truth into a mark."""
    return "yes" if value else ""


def _import(
    env: Env, request: CreateRequest, images: list[ImageFile], *, token: str, replacing: bool
) -> None:
    name = request.name
    disks = [env.storage.disk(name, number, request.settings.disk_bus) for number in range(len(images))]
    prepared = env.definitions.prepare(request.xml, name, disks)
    if prepared.foreign_disks:
        message = (
            f"{name} has disks that are not in the cluster's storage: {', '.join(prepared.foreign_disks)}"
        )
        env.say(Note(Level.WARNING, "foreign-disks", message, "the VM can only start where they exist"))
    with env.storage.stage(name) as staged:
        for image in images:
            staged.add(image.size_bytes)
            staged.fill(image, partial(_tell, env, f"importing {image.path}"))
            if request.verify:
                staged.compare(image, partial(_tell, env, f"comparing {image.path}"))
        staged.describe(
            xml=prepared.xml, base_xml=request.xml, settings=request.settings, notes={TOKEN: token}
        )
        if replacing:
            halt(env, name)
            env.cluster.remove(name)
        staged.commit()


def _tell(env: Env, step: str, fraction: float) -> None:
    env.say(Progress(step, fraction))


def _inspect(env: Env, request: CreateRequest) -> tuple[list[ImageFile], list[VmMgrError]]:
    images, problems = [], []
    for path, image_format in zip_longest(request.images, request.formats):
        try:
            images.append(env.images.inspect(path, image_format))
        except VmMgrError as error:
            if error.kind not in (Kind.INVALID, Kind.NOT_FOUND):
                raise
            problems.append(error)
    return images, problems


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


def setting_problems(state: ClusterState, settings: VmSettings) -> list[VmMgrError]:
    """Check what is to be stored with a VM."""
    problems = host_problems(state, settings.pinned_host) + host_problems(state, settings.preferred_host)
    if settings.pinned_host and settings.preferred_host:
        message = "a VM is either pinned to a host or prefers one"
        problems.append(VmMgrError(Kind.INVALID, message, hint="drop --pinned-host or --preferred-host"))
    if settings.disk_bus is not None and settings.disk_bus not in BUSES:
        hint = f"use one of {', '.join(BUSES)}"
        problems.append(VmMgrError(Kind.INVALID, f"unknown disk bus {settings.disk_bus!r}", hint=hint))
    for key in settings.user_metadata:
        problems += metadata_key_problems(key)
    return problems

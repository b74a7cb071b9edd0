"""Create a VM from a disk image and a domain definition."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import zip_longest
from pathlib import PurePath
from typing import NamedTuple

from vm_mgr.errors import Kind, UuidTakenError, VmMgrError, raise_all
from vm_mgr.model.attributes import attribute_problems
from vm_mgr.model.capacity import size_words
from vm_mgr.model.cluster import OWN_AGENT, ClusterState, NodeName
from vm_mgr.model.failback import failback_problems
from vm_mgr.model.health_checks import check_problems
from vm_mgr.model.intent import Intent, Key, KeyKind
from vm_mgr.model.node_requirements import Uplink
from vm_mgr.model.on_move import on_move_problems
from vm_mgr.model.storage import ImageFile, ImagePart
from vm_mgr.model.vm import (
    TargetRole,
    VmName,
    VmSettings,
    VmStatus,
    name_problems,
    note_problems,
    text_problems,
    word_problems,
)
from vm_mgr.operations.disable import expected_of, halt, role_of, tell_kept
from vm_mgr.operations.enable import resource_for
from vm_mgr.operations.lifecycle.waiting import await_state
from vm_mgr.operations.migration.options import move_problems
from vm_mgr.operations.storage.clone_source import recover_others
from vm_mgr.operations.support.capacity import guest_problems, tell_room
from vm_mgr.operations.support.locking import Step, lock, locked, with_intent
from vm_mgr.operations.support.preconditions import (
    host_problems,
    name_conflicts,
    require_ready,
    warn_without_fencing,
)
from vm_mgr.operations.support.removal import standing_problems
from vm_mgr.operations.support.requirements import fitness_problems
from vm_mgr.operations.support.ties import SHARED_WITH_VM, state_problems, tell_definition
from vm_mgr.ports.definition import DISK, MAC, UUID, Exclusive, Prepared
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note, Progress

__all__ = [
    "CreateRequest",
    "Making",
    "bus_problems",
    "claimed",
    "create",
    "making",
    "recover",
    "recover_others",
    "setting_problems",
    "taken_problems",
    "tell_losses",
]

TOKEN = "_vm_mgr_made"  # noqa: S105 - it tells one making from another
COMMITTING = "committing"
ENABLING = "enabling"
SMALLEST = 1 << 20
BUSES = ("virtio", "scsi", "sata", "ide", "usb")
CLAIMS = {UUID: KeyKind.UUID, MAC: KeyKind.MAC}


class CreateRequest(NamedTuple):
    """What to create; xml is the text of the definition, the images are paths, the system disk's first.

    formats: of the images one by one; where there is none, or None, the content decides.
    storage: the label of the storage to create it in; the default one if empty. disk_bytes: what the system
    disk is to have at least; without images it is empty.
    verify: read everything again and compare. local: the domain of this node's libvirt that is taken over,
    and forgotten there once all is copied. resource: take the place of the stopped resource of this name that
    another tool's agent runs. allow: what is else refused, in the words of operations/support/ties.py.
    """

    name: VmName
    xml: str
    images: tuple[str | ImagePart, ...]
    settings: VmSettings = VmSettings()
    enable: bool = True
    start: bool = True
    force: bool = False
    formats: tuple[str | None, ...] = ()
    verify: bool = False
    local: str = ""
    resource: bool = False
    storage: str = ""
    allow: tuple[str, ...] = ()
    disk_bytes: int = 0


def create(env: Env, request: CreateRequest) -> VmStatus:
    """Check everything, import, describe, then show the VM to the cluster and wait until it runs.

    Once the import is committed the disk stays, whatever becomes of the start.
    """
    name = request.name
    if problems := name_problems(name):
        raise_all(problems)
    require_ready(env, "create", name, starts=request.enable and request.start)
    with locked(env, name), claimed(env, request.xml):
        state = env.cluster.state()
        images, problems = _inspect(env, request)
        theirs = state.resources.get(name)
        if request.resource and theirs and theirs.agent != OWN_AGENT and not env.storages.label_of(name):
            problems += standing_problems(theirs)
        else:
            problems += name_conflicts(env, state, name, force=request.force, storage=request.storage)
        problems += env.definitions.problems(request.xml)
        problems += setting_problems(state, name, request.settings)
        problems += state_problems(env, name, request.xml, request.allow)
        raise_all(problems)
        prepared = _prepared(env, request, images)
        problems = taken_problems(env, name, prepared.xml, request.allow)
        problems += _capacity_problems(env, state, request)
        host, allow = request.settings.pinned_host, request.allow
        raise_all(problems + fitness_problems(env, state, name, prepared.xml, host=host, allow=allow))
        tell_room(env, request.storage, sum(_sizes(request, images)))
        tell_losses(env, images)
        enable, start = request.enable, request.start
        details = {"local": request.local, "storage": request.storage}
        with making(env, name, state, enable=enable, start=start, **details) as made:
            _import(
                env,
                request,
                images,
                prepared,
                made,
                replacing=name in state.resources and not request.resource,
            )
            if request.local:
                env.hypervisor.undefine(VmName(request.local))
    again = "" if request.local or request.resource else "create"
    return await_state(env, name, enabled=enable, started=start, again=again)


class Making:
    """A VM that is being made: the notes to store with it, and the phase in which no start is allowed."""

    def __init__(self, step: Step, token: str) -> None:
        self.step = step
        self.notes: Mapping[str, str] = {TOKEN: token}

    def replace(self, *, replacing: bool) -> None:
        """Take the VM that it replaces out of the cluster; from here on its disks come and go."""
        env, name = self.step.env, self.step.name
        if replacing:
            expected = expected_of(env, name)
            tell_kept(env, env.cluster.state().resources[name])
            halt(env, name)
            env.cluster.remove(name, expected)
        self.step.now(COMMITTING)


@contextmanager
def making(
    env: Env, name: VmName, state: ClusterState, *, enable: bool, start: bool, **details: str
) -> Iterator[Making]:
    """Mark that a VM is being made, then show it to the cluster."""
    if enable:
        warn_without_fencing(env, state)
    # What tells the VM that is made from the one that it replaces.
    token = f"{env.cluster.local_node()}-{env.clock.utc():.6f}"
    details |= {"token": token, "was": role_of(state.resources.get(name))}
    details |= {"enable": _flag(enable), "start": _flag(start)}
    with with_intent(env, name, "create", **details) as step:
        yield Making(step, token)
        if enable:
            step.now(ENABLING)
            _put_in_cluster(env, name, start=start)


def recover(env: Env, name: VmName, intent: Intent) -> bool:
    """Finish a creation that was committed; take any other back, with what it was to replace."""
    env.storages.get(intent.details.get("storage", "")).unstage(name)
    recover_others(env, name, intent)
    if not env.storage.definitions.exists(name):
        return False
    Step(env, name, intent).now(ENABLING)  # the disks are whole: it may be started
    resource = env.cluster.state().resources.get(name)
    present, was = resource is not None, intent.details["was"]
    if env.storage.definitions.metadata(name).get(TOKEN) == intent.details["token"]:
        if intent.details.get("local"):
            env.hypervisor_at(NodeName(intent.node)).undefine(VmName(intent.details["local"]))
        if intent.details["enable"] and (resource is None or resource.agent != OWN_AGENT):
            _put_in_cluster(env, name, start=bool(intent.details["start"]))
        return True
    if was and present:
        env.cluster.set_target_role(name, TargetRole(was))
    elif was:
        _put_in_cluster(env, name, start=was == TargetRole.STARTED.value)
    return False


def _flag(value: bool) -> str:  # noqa: FBT001 - it is all there is to say
    return "yes" if value else ""


def _put_in_cluster(env: Env, name: VmName, *, start: bool) -> None:
    env.cluster.add(resource_for(env, name, env.storage.definitions.settings(name), start=start))


def _prepared(env: Env, request: CreateRequest, images: list[ImageFile]) -> Prepared:
    """Put the disks into the definition, and tell what of it is not kept."""
    disks = env.storages.get(request.storage).disks
    count = len(_sizes(request, images))
    own = [disks.locate(request.name, number, request.settings.disk_bus) for number in range(count)]
    copied = bool(request.local or request.resource)
    prepared = env.definitions.prepare(request.xml, request.name, own, copied=copied)
    taken = [
        f"{disk.target}: {image.path} in place of {disk.path}"
        for disk, image in zip(env.definitions.hard_disks(request.xml), images, strict=False)
        if disk.path and PurePath(disk.path).name != PurePath(image.path).name
    ]
    sources = [disk.source for disk in own]
    tell_definition(env, request.name, prepared, sources, request.settings, taken=taken)
    return prepared


def _import(
    env: Env,
    request: CreateRequest,
    images: list[ImageFile],
    prepared: Prepared,
    made: Making,
    *,
    replacing: bool,
) -> None:
    with env.storages.get(request.storage).stage(request.name) as staged:
        for size_bytes, image in zip_longest(_sizes(request, images), images):
            staged.add(size_bytes)
            if image is None or not image.format:
                continue
            staged.fill(image, partial(_tell, env, "importing", image))
            if request.verify:
                staged.compare(image, partial(_tell, env, "comparing", image))
        # What a domain that is taken over has at this node, as its definition names it.
        taken = request.local or request.resource
        nvram = env.nvram_files.read(env.definitions.nvram(request.xml)) if taken else b""
        staged.describe(
            xml=prepared.xml,
            base_xml=request.xml,
            settings=request.settings,
            notes=made.notes,
            nvram=nvram,
        )
        made.replace(replacing=replacing and not request.resource)
        staged.commit()


def _sizes(request: CreateRequest, images: Sequence[ImageFile]) -> list[int]:
    """Give the sizes of the disks, which may be larger than their images."""
    first, *others = [image.size_bytes for image in images] or [0]
    return [max(first, request.disk_bytes), *others]


def _tell(env: Env, doing: str, image: ImageFile, fraction: float) -> None:
    env.say(Progress(f"{doing} {image.path}", fraction, image.size_bytes))


def tell_losses(env: Env, images: Iterable[ImageFile]) -> None:
    """Say once what of the images is not imported."""
    for image in images:
        if image.losses:
            env.say(Note(Level.WARNING, "left-behind", f"{image.path}: {'; '.join(image.losses)}"))


def _inspect(env: Env, request: CreateRequest) -> tuple[list[ImageFile], list[VmMgrError]]:
    images, problems = [], []
    for path, image_format in zip_longest(request.images, request.formats):
        try:
            images.append(env.images.inspect(path, image_format))
        except VmMgrError as error:
            if error.kind not in (Kind.INVALID, Kind.NOT_FOUND, Kind.WRONG_STATE):
                raise
            problems.append(error)
    if request.disk_bytes < SMALLEST and (request.disk_bytes or not request.images):
        message = "the system disk needs an image, or a size of 1M or more"
        problems.append(VmMgrError(Kind.INVALID, message, hint="give --image FILE, or --disk 20G"))
    if images and 0 < request.disk_bytes < images[0].size_bytes:
        message = (
            f"the image {images[0].path} has {size_words(images[0].size_bytes)}, which is more than --disk"
        )
        problems.append(VmMgrError(Kind.INVALID, message, hint="leave out --disk, or give a larger size"))
    return images, problems


def _capacity_problems(env: Env, state: ClusterState, request: CreateRequest) -> list[VmMgrError]:
    machine, host = env.definitions.machine(request.xml), request.settings.pinned_host
    return guest_problems(
        env,
        state,
        memory_bytes=machine.memory_bytes,
        vcpus=machine.vcpus,
        host=host,
        allow=request.allow,
        start_bytes=machine.start_bytes if request.enable and request.start else 0,
    )


@contextmanager
def claimed(env: Env, definition: str) -> Iterator[None]:
    """Be the only one that makes a VM with the definition's UUID and MAC addresses, whatever its name."""
    found = [one for one in env.definitions.exclusive(definition) if one.what in CLAIMS]
    keys = [Key(CLAIMS[one.what], one.value.replace(":", "")) for one in found]
    with ExitStack() as claim:
        for key in sorted(keys, key=str):
            claim.enter_context(lock(env, key))
        yield


def taken_problems(
    env: Env, name: VmName, definition: str, allow: Collection[str], *, before: str = ""
) -> list[VmMgrError]:
    """Refuse what another VM has alone; before: a text whose own is not looked at."""
    wanted = {*env.definitions.exclusive(definition)} - {*env.definitions.exclusive(before)}
    if not wanted:
        return []
    problems: list[VmMgrError] = []
    for other, theirs in env.storage.definitions.exclusive(env.definitions.exclusive).items():
        # The index may be behind where another tool has changed the definition.
        if other != name and theirs & wanted and (common := wanted & _exclusive_now(env, other)):
            problems += _taken(env, name, other, common, allow)
    return problems


def _exclusive_now(env: Env, name: VmName) -> set[Exclusive]:
    try:
        return {*env.definitions.exclusive(env.storage.definitions.read(name))}
    except VmMgrError as error:
        if error.kind is not Kind.NOT_FOUND:
            raise
        return set()


def _taken(
    env: Env, name: VmName, other: VmName, common: Collection[Exclusive], allow: Collection[str]
) -> Iterator[VmMgrError]:
    """Refuse, but for what may be shared by VMs that never run on one node at the same time."""
    for one in sorted(common):
        if one.what == UUID:
            yield UuidTakenError(one.value, other)
        elif one.what == DISK:
            hint = (
                "give an image for it, for example --additional-disk FILE; or remove it from the definition"
            )
            yield VmMgrError(Kind.EXISTS, f"the disk {one.value} belongs to the VM {other}", hint=hint)
    rest = [f"the {one.what} {one.value}" for one in sorted(common) if one.what not in (UUID, DISK)]
    if not rest:
        return
    message = f"{', '.join(rest)} {'belong' if len(rest) > 1 else 'belongs'} to the VM {other}"
    if SHARED_WITH_VM in allow:
        hint = f"they can't run on one node at the same time: vm-mgr separate {name} {other}"
        env.say(Note(Level.WARNING, SHARED_WITH_VM, message, hint))
        return
    hint = "leave that out of the definition: a MAC address is made anew; or copy the VM: "
    hint += f"vm-mgr clone {other}; or accept it: --allow {SHARED_WITH_VM}"
    yield VmMgrError(Kind.EXISTS, message, hint=hint)


def setting_problems(state: ClusterState, name: VmName, settings: VmSettings) -> list[VmMgrError]:
    """Check what is to be stored with a VM."""
    problems = host_problems(state, settings.pinned_host) + host_problems(state, settings.preferred_host)
    if settings.pinned_host and settings.preferred_host:
        message = "a VM is either pinned to a host or prefers one"
        problems.append(VmMgrError(Kind.INVALID, message, hint="drop --pinned-host or --preferred-host"))
    problems += bus_problems(settings.disk_bus) + move_problems(settings) + on_move_problems(settings)
    problems += failback_problems(settings) + Uplink.problems(settings.uplink)
    if settings.migration_user:
        problems += word_problems("the migration user", settings.migration_user)
    problems += note_problems(settings.user_metadata)
    problems += text_problems("--add-crm-config-cmd", settings.crm_config_cmd or "")
    return problems + check_problems(settings.checks) + attribute_problems(name, settings)


def bus_problems(bus: str | None) -> list[VmMgrError]:
    """Refuse a bus that no guest has."""
    if bus is None or bus in BUSES:
        return []
    hint = f"use one of {', '.join(BUSES)}"
    return [VmMgrError(Kind.INVALID, f"unknown disk bus {bus!r}", hint=hint)]

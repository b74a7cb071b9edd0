"""Create a VM from an appliance: an OVA, or an OVF with its files beside it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.package import NONE, Appliance, Package, network_problems
from vm_mgr.model.storage import ImagePart
from vm_mgr.model.vm import VmName, VmSettings, VmStatus, name_problems
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.support.preconditions import name_conflicts, require_ready
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note, Progress

__all__ = ["ImportRequest", "Imported", "import_appliance"]

# More disks than these two IDE channels have are given to SATA.
IDE_MAX = 4


class ImportRequest(NamedTuple):
    """What to import; name: empty for the OVF's.

    networks: where the cards go, as model/package.py says; OVFNAME= before it means the cards of that network
    of the OVF alone. kvm: false emulates the processors. allow: as of CreateRequest.
    """

    file: str
    name: str = ""
    networks: tuple[str, ...] = ()
    keep_macs: bool = False
    kvm: bool = True
    settings: VmSettings = VmSettings()
    enable: bool = True
    start: bool = True
    force: bool = False
    verify: bool = False
    storage: str = ""
    allow: tuple[str, ...] = ()


class Imported(NamedTuple):
    """The VM, and what of the appliance is not taken over, in words."""

    vm: VmStatus
    left: tuple[str, ...]


def import_appliance(env: Env, request: ImportRequest) -> Imported:
    """Read the package, check it against its manifest, and go on as `create` does: all of it, or nothing."""
    package = env.images.package(request.file)
    appliance = env.definitions.appliance(package.description)
    name = VmName(request.name or appliance.name)
    networks, problems = _networks(appliance, request)
    images, missing = _images(package, appliance)
    raise_all(_name_problems(env, name, request) + problems + missing)
    require_ready(env, "import", name, starts=request.enable and request.start)
    _check(env, package, appliance)
    bus = request.settings.disk_bus or _bus(appliance)
    vm = create(
        env,
        CreateRequest(
            name=name,
            xml=env.definitions.of_appliance(
                appliance, networks, keep_macs=request.keep_macs, kvm=request.kvm
            ),
            images=images,
            settings=request.settings._replace(disk_bus=bus),
            enable=request.enable,
            start=request.start,
            force=request.force,
            verify=request.verify,
            storage=request.storage,
            allow=request.allow,
        ),
    )
    return Imported(vm, tuple(_left(appliance, networks, bus, keep_macs=request.keep_macs)))


def _name_problems(env: Env, name: VmName, request: ImportRequest) -> list[VmMgrError]:
    """Look at the name before the package is read, which takes time."""
    problems = name_problems(name)
    if problems and not request.name:
        hint = "name the VM: --name NAME"
        problems = [VmMgrError(one.kind, one.message, hint=hint) for one in problems]
    if not problems:
        state = env.cluster.state()
        problems = name_conflicts(env, state, name, force=request.force, storage=request.storage)
    return problems


def _networks(appliance: Appliance, request: ImportRequest) -> tuple[dict[str, str], list[VmMgrError]]:
    """Say for each network of the OVF what it becomes; refuse to guess."""
    wanted = list(dict.fromkeys(card.network for card in appliance.cards))
    found: dict[str, str] = {}
    problems: list[VmMgrError] = []
    if sum("=" not in text for text in request.networks) > 1:
        hint = "name the cards that each is for: --network OVFNAME=BRIDGE"
        problems.append(VmMgrError(Kind.INVALID, "--network names two networks for all cards", hint=hint))
    for text in request.networks:
        name, equals, target = text.rpartition("=")
        problems += network_problems(target)
        if equals and name not in wanted:
            message = f"the OVF has no network {name!r}"
            hint = f"it has {', '.join(map(repr, wanted)) or 'none'}"
            problems.append(VmMgrError(Kind.INVALID, message, hint=hint))
        found.update({name: target} if equals else {one: target for one in wanted if one not in found})
    unknown = [one for one in wanted if one not in found]
    if unknown:
        message = (
            f"the OVF has network cards on {', '.join(map(repr, unknown))}: say what that is on the nodes"
        )
        hint = f"--network BRIDGE for all, --network '{unknown[0]}=BRIDGE' for these, or --network {NONE}"
        problems.append(VmMgrError(Kind.INVALID, message, hint=hint))
    return found, problems


def _images(package: Package, appliance: Appliance) -> tuple[tuple[ImagePart, ...], list[VmMgrError]]:
    """Find the disks' files among those of the package; what is no name of one of these is no path either."""
    hint = "give the whole OVA, or the OVF with all its files beside it"
    if not appliance.disks:
        return (), [VmMgrError(Kind.INVALID, f"{package.path} has no disk", hint=hint)]
    images, problems = [], []
    for number, disk in enumerate(appliance.disks):
        if not disk.file:
            images.append(ImagePart(f"empty disk {number}", disk.size_bytes))
        elif disk.file in package.files:
            images.append(package.files[disk.file])
        else:
            message = f"{package.path} lacks the disk {disk.file}"
            problems.append(VmMgrError(Kind.INVALID, message, hint=hint))
    return tuple(images), problems


def _check(env: Env, package: Package, appliance: Appliance) -> None:
    """Verify what the manifest names, and say of what else is used that it is not verified."""
    used = [package.description_name, *(disk.file for disk in appliance.disks if disk.file)]
    unknown = [name for name in used if name not in (package.sums or {})]
    if unknown:
        what = "has no manifest" if package.sums is None else f"has no sums of {', '.join(unknown)}"
        message = f"{package.path} {what}: whether it is as it was made is not known"
        env.say(Note(Level.WARNING, "no-manifest", message))
    if package.sums is None:
        return
    env.images.check_package(package, lambda done: env.say(Progress(f"checking {package.path}", done)))
    if package.signed:
        env.say(Note(Level.INFO, "signature", f"the signature of {package.path} is not checked"))


def _bus(appliance: Appliance) -> str:
    """All disks of a VM are on one bus: that of the system disk."""
    bus = appliance.disks[0].bus
    return "sata" if bus == "ide" and len(appliance.disks) > IDE_MAX else bus


def _left(appliance: Appliance, networks: Mapping[str, str], bus: str, *, keep_macs: bool) -> Sequence[str]:
    left = list(appliance.left)
    for number, disk in enumerate(appliance.disks):
        if disk.bus != bus:
            left.append(f"bus {disk.bus} of disk {number} ({bus} instead)")
    if any(networks[card.network] == NONE for card in appliance.cards):
        left.append("network cards")
    if not keep_macs and any(card.mac for card in appliance.cards):
        left.append("MAC addresses")
    return left

"""Tell what ties a VM to one node, and refuse what would be lost with that node."""

from collections.abc import Collection, Sequence

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.nvram import NvramPlaces
from vm_mgr.model.on_move import OnMove, on_move_of
from vm_mgr.model.vm import VmName, VmSettings
from vm_mgr.ports.definition import Prepared, Tie
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = [
    "ALLOWABLE",
    "NODE_LOCAL_STATE",
    "SHARED_WITH_VM",
    "own_sources",
    "state_problems",
    "tell_definition",
    "warn_of_foreign",
    "warn_of_immovable",
    "warn_of_ties",
]

NODE_LOCAL_STATE = "node-local-state"
SHARED_WITH_VM = "shared-with-vm"
# What --allow takes.
ALLOWABLE = (NODE_LOCAL_STATE, SHARED_WITH_VM)


def own_sources(env: Env, name: VmName) -> list[str]:
    """Name the sources of the disks that the storage has of a VM."""
    numbers = range(len(env.storage.clients.images(name)))
    return [env.storage.disks.locate(name, number, None).source for number in numbers]


def state_problems(
    env: Env, name: VmName, xml: str, allow: Collection[str], *, known: Sequence[Tie] = ()
) -> list[VmMgrError]:
    """Refuse state that stays on a node, unless it is allowed or was there before."""
    if NODE_LOCAL_STATE in allow or env.definitions.problems(xml):
        return []
    lost = [tie.text for tie in env.definitions.ties(xml) if tie.state and tie not in known]
    if not lost:
        return []
    message = f"{name} keeps on each node what it loses with that node: {', '.join(lost)}"
    hint = f"leave it out; or accept that a recovery starts without it: --allow {NODE_LOCAL_STATE}"
    return [VmMgrError(Kind.INVALID, message, hint=hint)]


def warn_of_immovable(env: Env, name: VmName, xml: str, settings: VmSettings) -> None:
    """Say of a VM whose guest is to go on where it is moved that it can't."""
    try:
        fixed = env.definitions.immovable(xml)
    except VmMgrError:
        return  # whoever starts it says what is wrong with it
    if fixed and (on_move := on_move_of(settings)) is not OnMove.RESTART:
        verb = "have its memory saved" if on_move is OnMove.HIBERNATE else "move while it runs"
        message = f"{name} can't {verb}, or only with some versions of libvirt and QEMU: {', '.join(fixed)}"
        hint = f"leave that out; or have it shut down for a move: vm-mgr set {name} --on-move restart"
        env.say(Note(Level.WARNING, "immovable", message, hint))


def warn_of_ties(
    env: Env, name: VmName, xml: str, own: Collection[str], *, known: Collection[Tie] = ()
) -> None:
    """Say in one warning what must be the same on each node where the VM is to run."""
    try:
        found = [tie for tie in env.definitions.ties(xml, own) if tie not in known]
    except VmMgrError:
        return  # whoever starts it says what is wrong with it
    if not found:
        return
    message = f"{name} has what may be on one node only: {_marked(found)}"
    hint = f"have the same on all nodes, or leave it out: vm-mgr edit {name}"
    optional = [tie.optional for tie in found]
    if not all(optional):
        hint = f"it can start only where {'the rest' if any(optional) else 'that'} exists; {hint}"
    env.say(Note(Level.WARNING, "node-local", message, hint))


def tell_definition(
    env: Env,
    name: VmName,
    prepared: Prepared,
    own: Collection[str],
    settings: VmSettings,
    *,
    taken: Sequence[str] = (),
) -> None:
    """Say once what of a definition is not as it was given, and what may hinder a start or a move.

    taken: what the images take the place of.
    """
    changes = [*taken, *prepared.changes]
    if changes:
        text = f"the definition of {name} is kept but for: {'; '.join(changes)}"
        env.say(Note(Level.INFO, "definition-changed", text, f"vm-mgr show {name} --xml"))
    if prepared.variables and _is_here(env, prepared.variables):
        text = f"{name} begins without the UEFI variables that this node has: {prepared.variables}"
        hint = "to keep them: vm-mgr add-to-cluster, once libvirt has the domain here (virsh define)"
        env.say(Note(Level.WARNING, "variables-left", text, hint))
    if prepared.shared:
        text = f"{name} has what its source has, too: {', '.join(prepared.shared)}"
        hint = f"the two can't run on one node at the same time: vm-mgr edit {name}, or vm-mgr separate"
        env.say(Note(Level.WARNING, "shared-with-vm", text, hint))
    if prepared.foreign_disks:
        known = [disk.partition(" ")[2] for disk in prepared.foreign_disks]
        ties = env.definitions.ties(prepared.xml, [*own, *known])
        warn_of_foreign(env, name, prepared.foreign_disks, ties)
    else:
        warn_of_ties(env, name, prepared.xml, own)
    warn_of_immovable(env, name, prepared.xml, settings)


def warn_of_foreign(env: Env, name: VmName, disks: Collection[str], ties: Collection[Tie]) -> None:
    """Name disks that the VM has and the storages don't keep, and what else may be on one node only."""
    message = f"{name} gets disks that vm-mgr does not keep: {', '.join(disks)}"
    message += f"; and what may be on one node only: {_marked(ties)}" if ties else ""
    hint = f"it can only start where these disks exist and nobody else has them; or: vm-mgr add-disk {name}"
    env.say(Note(Level.WARNING, "foreign-disks", message, hint))


def _is_here(env: Env, variables: str) -> bool:
    try:
        return bool(env.nvram_files.read(NvramPlaces(variables=variables)))
    except VmMgrError:
        return True  # something is, and can't be read


def _marked(ties: Collection[Tie]) -> str:
    """Name them, and say of what is lost elsewhere, and of what a start does not need."""
    marks = {(True, False): " [state]", (False, True): " [elsewhere the drive is empty]"}
    return ", ".join(f"{tie.text}{marks.get((tie.state, tie.optional), '')}" for tie in ties)

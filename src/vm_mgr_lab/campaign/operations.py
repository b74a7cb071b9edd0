"""Make commands of planned operations: each kind is a function of what VMs there are and of a chance."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from vm_mgr_lab.campaign.model import Ask, Core, Facts, Spare, Want, chance_of
from vm_mgr_lab.campaign.plan import Asked

__all__ = ["MAKERS", "Scene", "make_ask"]

IMAGE, DEFINITION = "/root/campaign.qcow2", "/root/campaign.xml"
GROW = 1 << 20


@dataclass(slots=True, kw_only=True)
class Scene:
    """What an operation can be about: the VMs that run, those that come and go, and the nodes."""

    storage: str
    nodes: tuple[str, ...]
    core: tuple[Core, ...]
    facts: dict[str, Facts]
    where: dict[str, str]
    spare: Spare
    number: int

    def spares(self) -> list[str]:
        """Return the names of the VMs that come and go and are there now."""
        return sorted(vm for vm in self.facts if vm.startswith(f"{self.spare.prefix}s"))


def make_ask(asked: Asked, scene: Scene) -> Ask:
    """Return the command of an operation; where it needs a spare VM and there is none, one is created."""
    chance = chance_of(asked.pick)
    vm = scene.core[asked.vm % len(scene.core)].name
    return MAKERS[asked.kind](scene, vm, chance)


def _migrate(scene: Scene, vm: str, chance: Random) -> Ask:
    others = [node for node in scene.nodes if node != scene.where.get(vm)]
    return Ask(words=("migrate", vm, chance.choice(others)), vm=vm)


def _migrate_away(scene: Scene, vm: str, chance: Random) -> Ask:  # noqa: ARG001
    return Ask(words=("migrate", vm), vm=vm)


def _drain(scene: Scene, vm: str, chance: Random) -> Ask:
    others = ("--restart-others",) if chance.random() < 0.5 else ()
    node = scene.where.get(vm) or scene.nodes[0]
    return Ask(words=("migrate", "--all-from", node, *others))


def _to_state(state: str, *words: str) -> "Maker":
    def make(scene: Scene, vm: str, chance: Random) -> Ask:  # noqa: ARG001
        return Ask(words=(*words, vm), wants=(Want(vm=vm, fact="state", value=state),), vm=vm)

    return make


def _snapshot(scene: Scene, vm: str, chance: Random) -> Ask:  # noqa: ARG001
    name = f"s{scene.number}"
    have = _snapshots(scene, vm)
    want = Want(vm=vm, fact="snapshots", value=tuple(sorted({*have, name})))
    return Ask(words=("create-snapshot", vm, "--snap-name", name), wants=(want,), vm=vm)


def _remove_snapshot(scene: Scene, vm: str, chance: Random) -> Ask:
    have = _snapshots(scene, vm)
    if not have:
        return _snapshot(scene, vm, chance)
    name = chance.choice(have)
    want = Want(vm=vm, fact="snapshots", value=tuple(one for one in have if one != name))
    return Ask(words=("remove-snapshot", vm, "--snap-name", name), wants=(want,), vm=vm)


def _rollback(scene: Scene, vm: str, chance: Random) -> Ask:
    have = _snapshots(scene, vm)
    if not have:
        return _snapshot(scene, vm, chance)
    # The disks' sizes go back too; what it makes of the records is judged by their boots.
    want = Want(vm=vm, fact="all", value=None)
    return Ask(words=("rollback", vm, "--snap-name", chance.choice(have), "--yes"), wants=(want,), vm=vm)


def _resize(scene: Scene, vm: str, chance: Random) -> Ask:
    vm = _some(scene, vm, chance)
    size = int(str(scene.facts[vm].get("size") or 0)) + GROW
    want = Want(vm=vm, fact="size", value=size)
    return Ask(words=("resize-disk", vm, str(size)), wants=(want,), vm=vm)


def _add_disk(scene: Scene, vm: str, chance: Random) -> Ask:
    vm = _some(scene, vm, chance)
    want = Want(vm=vm, fact="disks", value=_disks(scene, vm) + 1)
    return Ask(words=("add-disk", vm, "8M"), wants=(want,), vm=vm)


def _remove_disk(scene: Scene, vm: str, chance: Random) -> Ask:
    several = sorted(name for name in scene.facts if _disks(scene, name) > 1)
    if not several:
        return _add_disk(scene, vm, chance)
    vm = chance.choice(several)
    last = _disks(scene, vm) - 1
    want = Want(vm=vm, fact="disks", value=last)
    return Ask(words=("remove-disk", vm, str(last), "--yes"), wants=(want,), vm=vm)


def _set(scene: Scene, vm: str, chance: Random) -> Ask:  # noqa: ARG001
    value = chance.randrange(1, 50)
    want = Want(vm=vm, fact="priority", value=value)
    return Ask(words=("set", vm, "--priority", str(value)), wants=(want,), vm=vm)


def _note(scene: Scene, vm: str, chance: Random) -> Ask:
    value = f"round {scene.number}, {chance.randrange(1000)}"
    want = Want(vm=vm, fact="note", value=value)
    return Ask(words=("set-metadata", vm, "campaign", value), wants=(want,), vm=vm)


def _edit(scene: Scene, vm: str, chance: Random) -> Ask:
    mib = 192 + chance.randrange(1, 16)
    file = f"/root/campaign-edit-{scene.number}.xml"
    change = f's|<memory[^>]*>[0-9]*</memory>|<memory unit="MiB">{mib}</memory>|; /<currentMemory/d'
    before = f"vm-mgr show --definition {vm} | sed '{change}' >{file}"
    want = Want(vm=vm, fact="memory", value=mib << 20)
    return Ask(words=("edit", vm, "--file", file, "--yes"), wants=(want,), vm=vm, before=before)


def _create(scene: Scene, vm: str, chance: Random) -> Ask:  # noqa: ARG001
    name = scene.spare.new()
    want = Want(vm=name, fact="exists", value=True)
    files = ("--xml", DEFINITION, "--image", IMAGE, "--storage", scene.storage)
    return Ask(words=("create", name, *files, "--disable"), wants=(want,), vm=name)


def _clone(scene: Scene, vm: str, chance: Random) -> Ask:
    name = scene.spare.new()
    want = Want(vm=name, fact="exists", value=True)
    full = ("--full",) if chance.random() < 0.3 else ()
    return Ask(words=("clone", vm, "--dst-name", name, "--disable", *full), wants=(want,), vm=name)


def _remove(scene: Scene, vm: str, chance: Random) -> Ask:
    if not scene.spares():
        return _create(scene, vm, chance)
    name = chance.choice(scene.spares())
    return Ask(words=("remove", name), wants=(Want(vm=name, fact="exists", value=False),), vm=name)


def _rename(scene: Scene, vm: str, chance: Random) -> Ask:
    if not scene.spares():
        return _clone(scene, vm, chance)
    old, new = chance.choice(scene.spares()), scene.spare.new()
    wants = (Want(vm=old, fact="exists", value=False), Want(vm=new, fact="exists", value=True))
    return Ask(words=("rename", old, "--new-name", new), wants=wants, vm=old)


def _enable(scene: Scene, vm: str, chance: Random) -> Ask:
    if not scene.spares():
        return _create(scene, vm, chance)
    name = chance.choice(scene.spares())
    want = Want(vm=name, fact="state", value="Stopped")
    return Ask(words=("enable", name, "--nostart"), wants=(want,), vm=name)


def _repair(scene: Scene, vm: str, chance: Random) -> Ask:  # noqa: ARG001
    return Ask(words=("repair",))


def _some(scene: Scene, vm: str, chance: Random) -> str:
    """Return the VM, or at times one of those that come and go."""
    return chance.choice(scene.spares()) if scene.spares() and chance.random() < 0.4 else vm


def _snapshots(scene: Scene, vm: str) -> tuple[str, ...]:
    found = scene.facts.get(vm, {}).get("snapshots", ())
    return found if isinstance(found, tuple) else ()


def _disks(scene: Scene, vm: str) -> int:
    found = scene.facts.get(vm, {}).get("disks", 0)
    return found if isinstance(found, int) else 0


Maker = Callable[[Scene, str, Random], Ask]
MAKERS: dict[str, Maker] = {
    "migrate": _migrate,
    "migrate-away": _migrate_away,
    "drain": _drain,
    "stop": _to_state("Stopped", "stop"),
    "stop-force": _to_state("Stopped", "stop", "--force"),
    "restart": _to_state("Started", "restart"),
    "disable": _to_state("Disabled", "disable"),
    "pause": _to_state("Started paused", "pause"),
    "snapshot": _snapshot,
    "remove-snapshot": _remove_snapshot,
    "rollback": _rollback,
    "resize": _resize,
    "add-disk": _add_disk,
    "remove-disk": _remove_disk,
    "set": _set,
    "note": _note,
    "edit": _edit,
    "create": _create,
    "clone": _clone,
    "remove": _remove,
    "rename": _rename,
    "enable": _enable,
    "repair": _repair,
}

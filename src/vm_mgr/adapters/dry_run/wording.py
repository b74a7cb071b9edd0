"""Say in words what each verb of the ports would change that reads.py does not name.

Words are given the port, as it was before the call, and the call's arguments; empty words mean
that nothing would change.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from vm_mgr.errors import VmMgrError
from vm_mgr.model.migration import parse_terms
from vm_mgr.model.on_move import on_move_of
from vm_mgr.model.resource import Role
from vm_mgr.model.settings import PRIORITY, SETTINGS
from vm_mgr.model.storage import disk_image
from vm_mgr.model.vm import TargetRole, VmSettings
from vm_mgr.ports.cluster import PATTERN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vm_mgr.adapters.memory.storage import MemoryStaged
    from vm_mgr.model.cluster import NodeName
    from vm_mgr.model.resource import Dependency
    from vm_mgr.model.storage import DiskClient, ImageFile
    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.cluster import Cluster, Move, VmResource
    from vm_mgr.ports.disks import Disks
    from vm_mgr.ports.hypervisor import Hypervisor
    from vm_mgr.ports.live_migration import Migration
    from vm_mgr.ports.snapshots import Snapshots
    from vm_mgr.ports.storage import Storage
    from vm_mgr.ports.storage_fencing import StorageFencing
    from vm_mgr.ports.stored_definitions import StoredDefinitions

    Words = Callable[..., str]

__all__ = ["WORDS"]

TIMEOUT_S = 10.0
# The terms of a single move (operations/migration/options.py), beside its strategy.
_UNITS = {
    "bandwidth": " MiB/s",
    "parallel": "",
    "downtime": " ms",
    "timeout": " s",
    "timeout-action": "",
    "max-pause": " s",
}


def _add(cluster: Cluster, resource: VmResource) -> str:
    verb = "replace" if resource.name in cluster.state().resources else "write"
    params = [f"{key}={value}" for key, value in resource.params.items()]
    terms = [resource.target_role.value, *_terms(resource), *params]
    return f"{verb} the resource {_list(resource.name, terms)}"


def _reconfigure(cluster: Cluster, resource: VmResource, before: VmResource | None = None) -> str:
    if resource.name not in cluster.state().resources:
        return ""
    now, was = (_terms_and_params(one) if one is not None else [] for one in (resource, before))
    changed = [one for one in now if one not in was] + [f"no longer {one}" for one in was if one not in now]
    if before is None:
        changed = changed or ["nothing special"]
    return f"change the resource {_list(resource.name, changed)}" if changed else ""


def _terms_and_params(resource: VmResource) -> list[str]:
    return [*_terms(resource), *(f"{key}={value}" for key, value in resource.params.items())]


def _change_requirements(
    cluster: Cluster, name: VmName, requirements: tuple[str, ...], *, follow_uplink: bool
) -> str:
    vm, state = cluster.configured(name).vm, cluster.state()
    if state.opt_in:
        return f"remove the rules by which {name} avoids nodes" if name in state.ruled else ""
    if vm is None or (vm.requirements, vm.follow_uplink) == (requirements, follow_uplink):
        return ""
    return f"have {name} avoid {'nodes that lack ' + ', '.join(requirements) if requirements else 'no node'}"


def _take_out(cluster: Cluster, name: VmName, expected: VmResource | None = None) -> str:
    if name not in cluster.state().resources:
        return ""
    others = [one.id for one in cluster.configured(name).others if not (one.leftover or one.kind == PATTERN)]
    how = "keep for its return" if expected is not None else "with them go"
    told = f"; {how}: {', '.join(others)}" if others else ""
    return f"take {name} and its constraints out of the cluster's configuration{told}"


def _rename_resource(cluster: Cluster, name: VmName, new: VmName) -> str:
    return f"rename the resource {name} to {new}" if name in cluster.state().resources else ""


def _set_target_role(cluster: Cluster, name: VmName, role: TargetRole) -> str:
    resource = cluster.state().resources.get(name)
    start = role is TargetRole.STARTED
    if resource is None or (resource.target_role == role.value and (resource.active or not start)):
        return ""
    return f"{'start' if start else 'stop'} {name}"


def _begin_move(_: Cluster, move: Move) -> str:
    where = f"from {move.source} to {move.to or 'another node'}"
    where += f", not to {', '.join(sorted(move.avoid))}" if move.avoid and not move.to else ""
    how = f" ({_terms_words(parse_terms(move.options))})" if move.options else ""
    return f"move {move.name} {where}{how}, by a constraint for at most {move.lifetime_s} s"


def _terms_words(terms: dict[str, str]) -> str:
    """Say the strategy, and why, as the note about the plan does; that it pauses early is in the reason."""
    plan = ": ".join(filter(None, (terms.get("strategy"), terms.get("reason"))))
    others = [f"{key} {terms[key]}{unit}" for key, unit in _UNITS.items() if key in terms]
    return ", ".join(filter(None, (*others, plan)))


def _standby(_: object, node: NodeName, *, lasting: bool = False) -> str:
    return f"put {node} in standby until {'that is ended' if lasting else 'it is booted the next time'}"


def _clear_moves(cluster: Cluster, name: VmName) -> str:
    left = [one.id for one in cluster.configured(name).others if one.leftover]
    return f"remove the constraints that moves left at {_list(name, left)}" if left else ""


def _terms(resource: VmResource) -> list[str]:
    """Say what is special about a resource, its role and its agent's parameters apart."""
    given = {
        "live migration": resource.live_migration,
        "hibernates when it is moved": resource.hibernation_s,
        f"priority {resource.priority}": resource.priority != PRIORITY,
        f"pinned to {resource.pinned_host}": resource.pinned_host,
        f"prefers {resource.preferred_host}": resource.preferred_host,
        "returns there": resource.returns,
        f"needs {', '.join(map(_need, resource.depends_on))}": resource.depends_on,
        f"with the disk {', '.join(one.id for one in resource.disks)}": resource.disks,
        "ignores the uplinks of its bridges": not resource.follow_uplink,
    }
    placed = [
        f"{'apart from' if score.startswith('-') else 'beside'} {other} ({score})"
        for other, score in resource.colocations.items()
    ]
    placed += [f"check {name} every {seconds} s" for name, seconds in resource.checks.items()]
    pairs = {**resource.meta, **resource.utilization}
    return [*(text for text in given if given[text]), *placed, *(f"{key}={pairs[key]}" for key in pairs)]


def _need(dependency: Dependency) -> str:
    return dependency.on if dependency.role is Role.STARTED else f"{dependency.on} ({dependency.role})"


def _change_settings(definitions: StoredDefinitions, name: VmName, settings: VmSettings) -> str:
    """Name what changes by its option; of the notes only those that change are given."""
    before = definitions.settings(name)
    changed = {key for key in VmSettings._fields if getattr(settings, key) != getattr(before, key)}
    moves = {"live_migration", "on_move"}
    words = [f"--on-move {on_move_of(settings).value}"] if changed & moves else []
    for one in SETTINGS:
        if one.name in changed - moves - {"user_metadata"}:
            option = one.field.options[0] if one.field.options else one.name
            words.append(f"{option} {_value(getattr(settings, one.name))}")
    notes = settings.user_metadata.items()
    words += [f"--metadata {key}={text}" for key, text in notes if before.user_metadata.get(key, "") != text]
    return f"store the settings of {_list(name, words)}" if words else ""


def _describe(_: object, name: VmName, metadata: Mapping[str, str | None]) -> str:
    kept = [
        "definition" if key == "xml" else f"{key}={value}"
        for key, value in metadata.items()
        if value is not None
    ]
    gone = [f"no {key}" for key, value in metadata.items() if value is None]
    return f"store with {_list(name, [*kept, *gone])}"


def _rename(storage: Storage, name: VmName, new: VmName) -> str:
    return (
        f"rename the disks and the definition of {name} to {new}" if storage.definitions.exists(name) else ""
    )


def _resize(disks: Disks, name: VmName, image: str, size_bytes: int) -> str:
    if any(disk.image == image and disk.size_bytes == size_bytes for disk in disks.of(name)):
        return ""
    return f"make {image} larger: {_size(size_bytes)}"


def _remove(storage: Storage, name: VmName) -> str:
    disks = _disks(storage, name)
    return (
        f"delete the disks of {name}: {disks}" if disks else f"delete what is left of {name} in the storage"
    )


def _drop_snapshot(snapshots: Snapshots, name: VmName, snapshot: str) -> str:
    known = any(one.name == snapshot for one in snapshots.of(name))
    return f"remove the snapshot {snapshot} of {name}" + ("" if known else ", where a disk has it")


def _place(staged: MemoryStaged) -> str:
    replaced = _disks(staged.storage, staged.name)
    if replaced:
        return f"put the disks of {staged.name} in place and delete those it had: {replaced}"
    return f"put the disks of {staged.name} in place"


def _fill(staged: MemoryStaged, image: ImageFile, _: object) -> str:
    return f"copy {PurePath(image.path).name} ({_size(image.size_bytes)}) into {_last(staged)}"


def _make_disk(
    _: object, name: VmName, number: int, size_bytes: int, image: ImageFile | None, _progress: object
) -> str:
    made = f"make {disk_image(name, number)} ({_size(size_bytes)})"
    return f"{made} and copy {PurePath(image.path).name} into it" if image else made


def _end_daemons(_: StorageFencing, numbers: Sequence[int], *, certain: bool = True) -> str:
    how = "mark down, being dead for certain" if certain else "mark down"
    return f"{how}: {', '.join(f'osd.{number}' for number in numbers)}"


def _blocklist(_: StorageFencing, holders: Sequence[DiskClient]) -> str:
    clients = sorted({f"{holder.address} of {holder.image}" for holder in holders})
    return f"blocklist clients and break their locks: {', '.join(clients)}"


def _freeze(hypervisor: Hypervisor, name: VmName) -> str:
    if _stands(hypervisor, name):
        return ""
    return f"hold {name} still: freeze its file systems, or pause it if it has no agent"


def _stands(hypervisor: Hypervisor, name: VmName) -> bool:
    return hypervisor.domain_state(name, timeout_s=TIMEOUT_S) == "paused"


def _migrate(_: object, migration: Migration, _tell: object = None) -> str:
    return f"migrate the domain {migration.name} to {migration.destination_uri}"


WORDS: Mapping[str, Mapping[str, Words]] = {
    "cluster": {
        "add": _add,
        "begin_move": _begin_move,
        "change_requirements": _change_requirements,
        "clear_moves": _clear_moves,
        "recover_blocked": lambda _, name, **_named: f"have {name} stopped and started elsewhere",
        "end_move": lambda _, name: f"remove the constraint of the move of {name}",
        "cleanup_failed": lambda _, name, node, task, *_ms: f"forget the failed {task} of {name} on {node}",
        "cleanup": lambda _, name: f"clear the failures of {name}",
        "reprobe": lambda _, name: f"have the cluster look on every node whether {name} runs there",
        "reconfigure": _reconfigure,
        "remove": _take_out,
        "rename": _rename_resource,
        "set_target_role": _set_target_role,
        "alarm": lambda _, name, node, **_named: f"tell all that {name} was found on {node} too",
    },
    "nodes": {
        "cleanup": lambda _, node: f"forget the failures on {node}",
        "confirm_off": lambda _, node: f"tell the cluster that {node} has no power",
        "fence": lambda _, node: f"switch {node} off and on again",
        "maintenance": lambda _, node, on: f"{'begin' if on else 'end'} the maintenance of {node}",
        "standby": _standby,
        "unstandby": lambda _, node: f"end the standby of {node}",
    },
    "hypervisor": {
        "abort_job": lambda _, name: f"cancel a migration of {name} under way",
        "attach": lambda _, name, _device: f"attach the disk to the running guest of {name}",
        "create": lambda _, _xml, name, **_named: f"start the domain {name}",
        "change_device": lambda _, name, change, _device: f"{change.value} at the running guest of {name}",
        "destroy": lambda _, name, **_named: f"power off {name}",
        "detach": lambda _, name, source: f"ask the guest of {name} to release {source}",
        "freeze": _freeze,
        "grow": lambda _, name, source, size: f"tell {name} that {source} has {_size(size)}",
        "let_go": lambda _, name, **_named: f"let {name} go on where it has arrived",
        "migrate": _migrate,
        "pause": lambda hypervisor, name: "" if _stands(hypervisor, name) else f"pause {name}",
        "restore": lambda _, _path, name, **_named: f"start the domain {name} with the memory that was saved",
        "resume": lambda _, name: f"let {name} go on",
        "save_memory": lambda _, name, path, **_named: f"write the memory of {name} to {path}",
        "shutdown": lambda _, name, **_named: f"ask the guest of {name} to power off",
        "take_back": lambda _, name: f"let {name} go on where it was",
        "thaw": lambda _, name: f"let {name} go on",
        "undefine": lambda _, name: f"have this node's libvirt forget {name}; its files stay",
    },
    "storage_fencing": {"end_daemons": _end_daemons, "blocklist": _blocklist},
    "processes": {"end": lambda _, pid, **_named: f"end the process {pid}"},
    "staged": {
        "add": lambda staged, size: f"make {_next(staged)} ({_size(size)})",
        "add_clone": lambda staged, image, _: f"make {_next(staged)}, sharing the blocks of {image}",
        "commit": _place,
        "compare": lambda staged, image, _: f"compare {_last(staged)} with {PurePath(image.path).name}",
        "copy": lambda staged, image, *_: f"copy {image} into {_last(staged)}",
        "describe": lambda staged, **_named: f"store the definition and the settings of {staged.name}",
        "fill": _fill,
    },
    "storage": {
        "remove": _remove,
        "rename": _rename,
        "unstage": lambda _, name: f"finish or remove what a killed command has made of {name}",
    },
    "storage.clients": {
        "evict": lambda _, client: f"blocklist the client {client.address} of {client.image}",
    },
    "storage.clones": {
        "flatten": lambda _, _name, image, _progress: (
            f"give {image} blocks of its own for all that it shares"
        ),
    },
    "storage.definitions": {
        "change_settings": _change_settings,
        "describe": _describe,
        "keep_nvram": lambda _, name, packed: f"keep UEFI variables and TPM of {name} ({len(packed)} bytes)",
    },
    "storage.disks": {
        "drop": lambda _, name, number: f"delete {disk_image(name, number)}",
        "make": _make_disk,
        "place": lambda _, name, number: f"put {disk_image(name, number)} in place",
        "resize": _resize,
    },
    "storage.saved_memory": {
        "commit": lambda _, name, _state: f"make the saved memory of {name} what its next start resumes",
        "consume": lambda _, name: f"record that the saved memory of {name} is used",
        "delete": lambda saved_memory, name: (
            f"give up the saved memory of {name}" if saved_memory.of(name) else ""
        ),
        "load": lambda _, name, _state, _progress: f"read the saved memory of {name}",
        "prepare": lambda _, name, size: f"make room for the memory of {name} ({_size(size)})",
        "store": lambda _, name, _state, _progress: f"store the memory of {name}",
    },
    "storage.snapshots": {
        "drop": _drop_snapshot,
        "regrade": lambda _, name, snapshot, _grade: f"note what the snapshot {snapshot} of {name} caught",
        "roll_back": lambda _, name, snapshot: f"take all disks of {name} back to {snapshot}",
        "take": lambda _, name, snapshot, _how: f"take the snapshot {snapshot} of all disks of {name}",
    },
}


def _list(what: str, parts: list[str]) -> str:
    return f"{what}: {', '.join(parts)}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items()) or "none"
    return "none" if value is None else str(value)


def _disks(storage: Storage, name: VmName) -> str:
    """List a VM's disks; nothing where there are none, or none that can be read."""
    try:
        return ", ".join(f"{disk.image} ({_size(disk.size_bytes)})" for disk in storage.disks.of(name))
    except VmMgrError:
        return ""


def _next(staged: MemoryStaged) -> str:
    return disk_image(staged.name, len(staged.vm.disks))


def _last(staged: MemoryStaged) -> str:
    return disk_image(staged.name, len(staged.vm.disks) - 1)


def _size(size_bytes: int) -> str:
    """Give a size for people.

    >>> _size(10 << 30), _size(1536 << 20), _size(1 << 20), _size(7)
    ('10 GiB', '1.5 GiB', '1 MiB', '7 bytes')
    """
    for unit, bits in (("TiB", 40), ("GiB", 30), ("MiB", 20)):
        if size_bytes >= 1 << bits:
            return f"{round(size_bytes / (1 << bits), 1):g} {unit}"
    return f"{size_bytes} bytes"

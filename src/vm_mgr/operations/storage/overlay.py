"""Find a running VM that writes elsewhere than to its stored disks, so that nothing lets its writes vanish.

A backup tool's overlay (virsh snapshot-create-as --disk-only), a block job, a disk plugged in by hand: only
the running QEMU knows of it. What starts next is the stored definition, whose disk lacks what came since.
"""

from collections.abc import Sequence
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import ClusterState, NodeName
from vm_mgr.model.vm import VmName
from vm_mgr.ports.env import Env
from vm_mgr.ports.storage import Storage
from vm_mgr.reports import Level, Note

__all__ = [
    "NOTE",
    "Elsewhere",
    "clear",
    "disk_problems",
    "elsewhere",
    "elsewhere_problems",
    "keep_note",
    "noted_problems",
    "overlay_problems",
    "warn",
]

# The key in the VM's metadata, so that every node knows of it, also after the loss of the one where it ran.
NOTE = "_vm_mgr_writes_elsewhere"


class Elsewhere(NamedTuple):
    """A disk that is written to a file that the stored definition does not have, or that a block job has."""

    target: str
    source: str
    job: str
    stored: bool  # the stored definition has this disk, with another source

    def text(self) -> str:
        """Say where it writes."""
        if self.job:
            return f"a block job ({self.job}) has its disk {self.target}"
        return f"its disk {self.target} is {self.source}, which is not in its stored definition"

    def way_out(self, name: VmName, node: str) -> str:
        """Say how it ends."""
        if self.job:  # one that commits what is on top ends by taking the lower file
            command = f"virsh blockjob {name} {self.target} --{'pivot' if self.stored else 'abort'}"
        elif self.stored:
            command = f"virsh blockcommit {name} {self.target} --active --pivot --wait"
        else:
            command = f"virsh detach-disk {name} {self.target} --live"
        return f"on {node}: {command}" if node else command


def elsewhere(env: Env, live_xml: str, stored_xml: str) -> list[Elsewhere]:
    """Compare what runs with what is stored."""
    stored = {one.target: one.source for one in env.definitions.written(stored_xml)}
    sources = set(stored.values())
    return [
        Elsewhere(one.target, one.source, one.job, one.target in stored and one.source not in sources)
        for one in env.definitions.written(live_xml)
        if one.job or one.source not in sources
    ]


def elsewhere_problems(name: VmName, found: Sequence[Elsewhere], node: str) -> list[VmMgrError]:
    """Refuse what would lose what is written there."""
    problems = []
    for one in found:
        message = f"{name} writes elsewhere than to its stored disks: {one.text()}; what it has written"
        hint = one.way_out(name, node)
        problems.append(VmMgrError(Kind.WRONG_STATE, f"{message} would be lost", hint=hint))
    return problems


def overlay_problems(env: Env, state: ClusterState, name: VmName) -> list[VmMgrError]:
    """Refuse what would stop or move such a VM while it runs.

    A libvirt or a storage that does not answer hinders nothing: a VM must be stopped even then.
    """
    resource = state.resources.get(name)
    node = state.node(resource.nodes[0]) if resource and resource.active and resource.nodes else None
    if node is None or not node.online:
        return []
    try:
        live = env.hypervisor_at(node.name).running_definition(name)
        found = elsewhere(env, live, env.storage.definitions.read(name))
    except VmMgrError:
        return []
    return elsewhere_problems(name, found, node.name)


def disk_problems(env: Env, state: ClusterState, name: VmName) -> list[VmMgrError]:
    """Refuse what would change or copy its disks; a VM that does not run is judged by what was noted."""
    resource = state.resources.get(name)
    runs = resource is not None and resource.active
    return overlay_problems(env, state, name) if runs else noted_problems(env, name)


def warn(env: Env, state: ClusterState, name: VmName) -> None:
    """Say it where what it writes is to go anyway."""
    for problem in overlay_problems(env, state, name):
        env.say(Note(Level.WARNING, "writes-elsewhere", problem.message, problem.hint))


def noted_problems(env: Env, name: VmName, storage: Storage | None = None) -> list[VmMgrError]:
    """Refuse to start, or to change, a VM that has last written elsewhere; no such VM is fine."""
    try:
        note = (storage or env.storage).definitions.metadata(name).get(NOTE, "")
    except VmMgrError as error:
        if error.kind is Kind.NOT_FOUND:
            return []
        raise
    if not note:
        return []
    message = f"{name} has last written elsewhere than to its stored disks, which lack these writes: {note}"
    hint = f"put that file into the disk there (qemu-img commit FILE); then, or to give it up: {_allow(name)}"
    return [VmMgrError(Kind.WRONG_STATE, message, hint=hint)]


def keep_note(env: Env, storage: Storage, name: VmName, live_xml: str, node: NodeName) -> list[Elsewhere]:
    """Keep in the storage that a running VM writes elsewhere, or no longer does; give where it does.

    Only what replaces one of the VM's own disks counts: without it the stored disk is not the newest. What
    was plugged in beside it keeps its own data.
    """
    kept, stored = storage.definitions.metadata(name), storage.definitions.read(name)
    own = {
        storage.disks.locate(name, number, None).source for number in range(len(storage.clients.images(name)))
    }
    ours = {one.target for one in env.definitions.written(stored) if one.source in own}
    found = elsewhere(env, live_xml, stored)
    stale = [one for one in found if one.stored and one.target in ours]
    note = "; ".join(f"{one.target} is {one.source} on {node}" for one in stale)
    if note != kept.get(NOTE, ""):
        storage.definitions.describe(name, {NOTE: note or None})
    return stale


def clear(env: Env, name: VmName) -> None:
    """Start from the stored disks after all."""
    for problem in noted_problems(env, name):
        env.say(Note(Level.WARNING, "writes-given-up", f"as it was allowed: {problem.message}"))
        env.storage.definitions.describe(name, {NOTE: None})


def _allow(name: VmName) -> str:
    return f"vm-mgr start {name} --allow lost-writes"

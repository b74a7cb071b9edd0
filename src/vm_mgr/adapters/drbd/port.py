"""Meet the storage port with a DRBD resource for each VM, on thin logical volumes of two nodes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from vm_mgr.adapters.drbd import staging
from vm_mgr.adapters.drbd.allocation import read_all
from vm_mgr.adapters.drbd.clients import DrbdClients
from vm_mgr.adapters.drbd.definitions import DrbdDefinitions
from vm_mgr.adapters.drbd.disks import DrbdDisks
from vm_mgr.adapters.drbd.pool import PART, put
from vm_mgr.adapters.drbd.record import State, resource_name
from vm_mgr.adapters.drbd.saved_memory import NoSavedMemory
from vm_mgr.adapters.drbd.snapshots import DrbdSnapshots
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.replication import Side
from vm_mgr.model.resource import Clone, ClusterParts, Dependency, DiskResource, Role, disk_id
from vm_mgr.model.storage import disk_image
from vm_mgr.ports.clones import WholeClones

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_mgr.adapters.drbd.pool import DrbdPool
    from vm_mgr.model.cluster import NodeName
    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.storage_records import Kept

__all__ = ["DrbdStorage"]

AGENT = "ocf:linbit:drbd"
META = {
    "clone-max": "2",
    "clone-node-max": "1",
    "promoted-max": "1",
    "promoted-node-max": "1",
    "notify": "true",
    "interleave": "true",
}
# Data that may be behind is never promoted; by default the agent gives it 5.
SCORES = "0 10 1000 10000"
# What the agent's metadata asks for; a promotion waits for the peer to be fenced.
TIMEOUTS_S = {"start": 240, "stop": 100, "promote": 120, "demote": 90, "notify": 90, "monitor": 30}


class DrbdStorage:
    """VMs as resources of DRBD; a clone shares nothing that would be lost with its source."""

    def __init__(self, pool: DrbdPool) -> None:
        self.pool = pool
        self.definitions = DrbdDefinitions(pool)
        self.disks = DrbdDisks(pool)
        self.snapshots = DrbdSnapshots(pool, self.disks)
        self.clones = WholeClones()
        self.saved_memory = NoSavedMemory(pool)
        self.clients = DrbdClients(pool)

    @contextmanager
    def stage(self, name: VmName) -> Iterator[staging.StagedResource]:
        """Begin a VM."""
        staged = staging.StagedResource(self.pool, name)
        try:
            yield staged
        finally:
            staged.close()

    def unstage(self, name: VmName) -> bool:
        """Recover what a killed creation left."""
        return staging.unstage(self.pool, name)

    def rename(self, name: VmName, new: VmName) -> None:
        """Give record and definition another name in one transaction, then the links; DRBD's names stay."""
        for placed in self.pool.find(name, State.PLACED):
            with self.pool.offline(placed):
                self.pool.change(lambda kept: _rename(kept, name, new))
        staging.settle(self.pool, new)

    def remove(self, name: VmName) -> bool:
        """Decide in one transaction, then erase on both nodes."""
        found = bool(self.pool.find(name, *State))
        if found:
            self.pool.change(lambda kept: _give_up(kept, name))
            for old in self.pool.find(name, State.OLD):
                self.pool.erase(old)
        return found

    def open_at(self, name: VmName, node: NodeName) -> None:
        """Allow two primaries in the files of both nodes; only Pacemaker promotes, for the time of a move."""
        record = self.pool.placed(name)
        if record.two_primaries:
            return
        look = self.pool.pair.look(record, self.pool.pair.first(record))
        if not look.whole:
            message = f"{name} can't move live to {node or 'another node'}: its sides are not the same now"
            hint = f"wait for the end of the sync: vm-mgr status {name}"
            raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=hint)
        self.pool.apply(self.pool.update(record, two_primaries=True, pending=True))

    def close_elsewhere(self, name: VmName, node: NodeName) -> None:
        """Forbid it again, once one side is demoted: raises TRY_LATER before that."""
        record = self.pool.placed(name)
        if not record.two_primaries:
            return
        look = self.pool.pair.look(record, self.pool.pair.first(record))
        if any(one.role == one.peer_role == "Primary" for one in look.volumes):
            message = f"the disks of {name} are writable at two nodes, not at {node or 'one'} alone"
            raise VmMgrError(Kind.TRY_LATER, message, hint="the cluster ends that with the move")
        self.pool.apply(self.pool.update(record, two_primaries=False, pending=True))

    def sides(self, name: VmName) -> list[Side]:
        """Ask both nodes what they see of the volumes."""
        record, found = self.pool.placed(name), []
        for node in record.nodes:
            try:
                look = self.pool.pair.look(record, node)
            except VmMgrError as error:
                found.append(Side(node, "", silent=error.message))
                continue
            for volume, seen in zip(record.volumes, look.volumes, strict=True):
                image = disk_image(name, volume.number)
                told = seen.out_of_sync_kib, seen.synced_percent, seen.finish_s, seen.paused
                found.append(Side(node, image, seen.role, seen.disk, seen.connection, *told))
        return found

    def cluster_parts(self, name: VmName) -> ClusterParts:
        """Give the promotable clone; the VM runs where it is promoted."""
        placed = self.pool.find(name, State.PLACED)
        nodes = tuple(placed[0].nodes) if placed else ()
        resource = resource_name(placed[0].port if placed else 0)
        disk = DiskResource(
            disk_id(name, PART),
            AGENT,
            params={"drbd_resource": resource, "adjust_master_score": SCORES},
            clone=Clone.PROMOTABLE,
            meta=META,
            timeouts_s=TIMEOUTS_S,
            nodes=nodes,
        )
        return ClusterParts((disk,), (Dependency(disk.id, Role.PROMOTED),))


def _rename(kept: Kept, name: VmName, new: VmName) -> None:
    records = read_all(kept.disks).values()
    if any(one.name == new and one.state is State.PLACED for one in records):
        raise VmMgrError(Kind.EXISTS, f"there is a VM {new} already", hint="choose another name")
    for one in records:
        if one.name == name:
            put(kept, one._replace(name=new, pending=one.pending or one.state is State.PLACED))
    if name in kept.definitions:
        kept.definitions[new] = kept.definitions.pop(name)


def _give_up(kept: Kept, name: VmName) -> None:
    for one in read_all(kept.disks).values():
        if one.name == name and one.state is not State.OLD:
            put(kept, one._replace(state=State.OLD))
    kept.definitions.pop(name, None)

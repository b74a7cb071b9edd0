"""Meet the snapshots port: the same snapshot on every image of the VM, as SEAPATH's tools make them."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.ceph import layout
from vm_mgr.adapters.ceph.clients import CephClients
from vm_mgr.adapters.ceph.connection import begun
from vm_mgr.adapters.ceph.nvram import copy_key, drop_key, key_of_snapshot
from vm_mgr.adapters.ceph.pool import threads_of
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import Consistency, Snapshot, disk_image

if TYPE_CHECKING:
    from vm_mgr.adapters.ceph.pool import Pool
    from vm_mgr.model.vm import VmName

__all__ = ["CephSnapshots"]


class CephSnapshots:
    """The same snapshot on every image of a VM."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def of(self, name: VmName) -> list[Snapshot]:
        """Read those of the system disk."""
        kept = self.pool.metadata(name)
        with (
            self.pool.working(f"can't list the snapshots of {name}") as (rbd, ioctx),
            rbd.Image(ioctx, disk_image(name, 0), read_only=True) as image,
        ):
            found = [
                Snapshot(
                    str(entry["name"]),
                    image.get_snap_timestamp(entry["id"]).replace(tzinfo=UTC).timestamp(),
                    _consistency(kept.get(layout.SNAPSHOT + str(entry["name"]), "")),
                )
                for entry in image.list_snaps()
                if entry.get("namespace", 0) == rbd.RBD_SNAP_NAMESPACE_TYPE_USER
            ]
        return sorted(found, key=lambda snapshot: snapshot.taken_utc)

    def take(self, name: VmName, snapshot: str, consistency: Consistency) -> None:
        """Make it on every image that lacks it, on all at once.

        The guest is quiesced meanwhile, and Ceph's monitors, who must agree on each, take them together.
        """
        with (
            self.pool.working(f"can't take the snapshot {snapshot} of {name}") as (rbd, ioctx),
            ExitStack() as opened,
        ):
            images = [opened.enter_context(rbd.Image(ioctx, image)) for image in self.pool.images(name)]
            lacking = [image for image in images if snapshot not in _names(image)]
            with threads_of(max(1, len(lacking))) as threads:
                list(threads.map(lambda image: image.create_snap(snapshot), lacking))
        copy_key(self.pool, name, key_of_snapshot(""), key_of_snapshot(snapshot))
        self.pool.describe(name, {layout.SNAPSHOT + snapshot: consistency.value})

    def regrade(self, name: VmName, snapshot: str, consistency: Consistency) -> None:
        """Correct its key."""
        self.pool.describe(name, {layout.SNAPSHOT + snapshot: consistency.value})

    def drop(self, name: VmName, snapshot: str) -> None:
        """Delete it from every image that has it; what may be refused, for a clone's sake, comes first."""
        doing = f"can't remove the snapshot {snapshot} of {name}"
        with self.pool.working(doing) as (rbd, ioctx), ExitStack() as opened:
            images = [opened.enter_context(rbd.Image(ioctx, image)) for image in self.pool.images(name)]
            having = [image for image in images if snapshot in _names(image)]
            for image in having:
                if image.is_protected_snap(snapshot):
                    image.unprotect_snap(snapshot)
            for image in having:
                with begun(doing):
                    image.remove_snap(snapshot)
        drop_key(self.pool, name, key_of_snapshot(snapshot))
        self.pool.describe(name, {layout.SNAPSHOT + snapshot: None})

    def roll_back(self, name: VmName, snapshot: str) -> None:
        """Take every image that has it back to it.

        A lock alone is of a client that died: the caller has broken it, and librbd would. All images
        stay open until the end, so that nobody finds one of them unwatched between two.
        """
        doing, images = f"can't roll {name} back to {snapshot}", self.pool.images(name)
        for client in CephClients(self.pool).of(images):
            if client.watching:
                message = f"{client.image} is in use by {client.address}"
                raise VmMgrError(Kind.WRONG_STATE, message, hint=f"stop it first: vm-mgr stop {name}")
        with self.pool.working(doing) as (rbd, ioctx), ExitStack() as opened:
            every = [opened.enter_context(rbd.Image(ioctx, image)) for image in images]
            for image in every:
                if snapshot in _names(image):
                    with begun(doing):
                        image.rollback_to_snap(snapshot)
            copy_key(self.pool, name, key_of_snapshot(snapshot), key_of_snapshot(""))


def _names(image: Any) -> set[str]:
    return {str(entry["name"]) for entry in image.list_snaps() if entry.get("namespace", 0) == 0}


def _consistency(value: str) -> Consistency:
    try:
        return Consistency(value)
    except ValueError:
        return Consistency.UNKNOWN

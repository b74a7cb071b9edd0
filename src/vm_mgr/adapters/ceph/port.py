"""Meet the storage port with RBD images, groups and image metadata."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from vm_mgr.adapters.ceph import removal, staging
from vm_mgr.adapters.ceph.clients import CephClients
from vm_mgr.adapters.ceph.clones import CephClones
from vm_mgr.adapters.ceph.definitions import CephDefinitions
from vm_mgr.adapters.ceph.disks import CephDisks
from vm_mgr.adapters.ceph.saved_memory import CephSavedMemory
from vm_mgr.adapters.ceph.snapshots import CephSnapshots

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_mgr.adapters.ceph.pool import Pool
    from vm_mgr.model.vm import VmName

__all__ = ["CephStorage"]


class CephStorage:
    """VMs as RBD groups; the definition in the system disk's metadata."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.definitions = CephDefinitions(pool)
        self.disks = CephDisks(pool)
        self.snapshots = CephSnapshots(pool)
        self.clones = CephClones(pool)
        self.saved_memory = CephSavedMemory(pool)
        self.clients = CephClients(pool)

    @contextmanager
    def stage(self, name: VmName) -> Iterator[staging.StagedImages]:
        """Begin a VM under temporary names."""
        staged = staging.StagedImages(self.pool, name)
        try:
            yield staged
        finally:
            staged.close()

    def unstage(self, name: VmName) -> bool:
        """Recover what a killed creation left."""
        return staging.unstage(self.pool, name)

    def rename(self, name: VmName, new: VmName) -> None:
        """Rename images and group."""
        removal.rename_vm(self.pool, name, new)

    def remove(self, name: VmName) -> bool:
        """Delete group and disks, and what an unfinished creation left."""
        return removal.remove_vm(self.pool, name)

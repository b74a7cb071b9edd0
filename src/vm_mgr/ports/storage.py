"""Keep VMs' disks and definitions: what concerns a whole VM, and the parts."""

from contextlib import AbstractContextManager
from typing import Protocol

from vm_mgr.model.vm import VmName
from vm_mgr.ports.clones import Clones
from vm_mgr.ports.disk_clients import DiskClients
from vm_mgr.ports.disks import Disks
from vm_mgr.ports.saved_memory import SavedMemory
from vm_mgr.ports.snapshots import Snapshots
from vm_mgr.ports.staged import Staged
from vm_mgr.ports.stored_definitions import StoredDefinitions

__all__ = ["PARTS", "Storage"]

# The parts, by the names under which a storage has them.
PARTS = ("definitions", "disks", "snapshots", "clones", "saved_memory", "clients")


class Storage(Protocol):
    """Storage that is out of reach raises EXTERNAL_FAILURE within about 10 seconds.

    The parts are there without a look at the storage: only their verbs take one.
    """

    @property
    def definitions(self) -> StoredDefinitions:
        """What is kept of VMs beside their disks."""
        ...

    @property
    def disks(self) -> Disks:
        """The disks of VMs."""
        ...

    @property
    def snapshots(self) -> Snapshots:
        """Snapshots of all disks of a VM."""
        ...

    @property
    def clones(self) -> Clones:
        """What clones share with their source."""
        ...

    @property
    def saved_memory(self) -> SavedMemory:
        """Memory of guests that are between two nodes."""
        ...

    @property
    def clients(self) -> DiskClients:
        """Who has disks open."""
        ...

    def stage(self, name: VmName) -> AbstractContextManager[Staged]:
        """Begin a VM; the caller has locked its name."""
        ...

    def unstage(self, name: VmName) -> bool:
        """Recover what a killed creation left: finish one that was committed, remove any other.

        Tells whether there was one to finish.
        """
        ...

    def rename(self, name: VmName, new: VmName) -> None:
        """Give disks and definition another name; repeating an interrupted one finishes it."""
        ...

    def remove(self, name: VmName) -> bool:
        """Delete it all and tell whether there was anything; repeating an interrupted one finishes it."""
        ...

"""Keep VMs' disks and definitions."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from vm_mgr.model.capacity import Room
from vm_mgr.model.storage import Disk, DiskClient, DiskInfo
from vm_mgr.model.vm import VmName, VmSettings
from vm_mgr.ports.disks import Disks
from vm_mgr.ports.saved_states import SavedStates
from vm_mgr.ports.staged import Staged

__all__ = ["Storage"]


class Storage(Disks, SavedStates, Protocol):
    """Storage that is out of reach raises EXTERNAL_FAILURE within about 10 seconds."""

    def names(self) -> set[VmName]:
        """Name every VM that is defined."""
        ...

    def exists(self, name: VmName) -> bool:
        """Tell whether a VM is defined."""
        ...

    def definition(self, name: VmName) -> str:
        """Give the domain XML that is started; raises NOT_FOUND."""
        ...

    def settings(self, name: VmName) -> VmSettings:
        """Give the settings; raises NOT_FOUND."""
        ...

    def uuids(self, read: Callable[[str], str], *, keep: bool = True) -> Mapping[VmName, str]:
        """Give the UUID of every VM whose definition has one; read takes it from the domain XML, or gives "".

        What was read once is kept for the next time, unless keep forbids it, and read again for a new VM.
        """
        ...

    def disk(self, name: VmName, number: int, bus: str | None) -> Disk:
        """Say how a domain reaches a VM's disk: 0 is the system disk, then the additional ones."""
        ...

    def stage(self, name: VmName) -> AbstractContextManager[Staged]:
        """Begin a VM; the caller has locked its name."""
        ...

    def unstage(self, name: VmName) -> bool:
        """Recover what a killed creation left: finish one that was committed, remove any other.

        Tells whether there was one to finish.
        """
        ...

    def change_settings(self, name: VmName, settings: VmSettings) -> None:
        """Replace the settings; the user's own notes are added to, and one with an empty value is removed."""
        ...

    def describe(self, name: VmName, metadata: Mapping[str, str | None]) -> None:
        """Set keys of the metadata, the definition `xml` among them; None or an empty value removes one."""
        ...

    def metadata(self, name: VmName) -> Mapping[str, str]:
        """Give all keys beside the disk, the definition among them, whatever wrote them; raises NOT_FOUND.

        A value may be empty or hold NULs; bytes that are no UTF-8 are Python's surrogate escapes.
        """
        ...

    def rename(self, name: VmName, new: VmName) -> None:
        """Give disks and definition another name; repeating an interrupted one finishes it."""
        ...

    def disks(self, name: VmName) -> list[DiskInfo]:
        """Describe the VM's disks, the system disk first."""
        ...

    def resize(self, name: VmName, image: str, size_bytes: int) -> None:
        """Make a disk larger; a running guest is told by the caller."""
        ...

    def room(self) -> Room:
        """Say how much the storage can hold, its own copies not counted."""
        ...

    def dependents(self, name: VmName) -> list[str]:
        """Name the images that share blocks with the VM's disks and would be lost with them."""
        ...

    def remove(self, name: VmName) -> bool:
        """Delete it all and tell whether there was anything; repeating an interrupted one finishes it."""
        ...

    def full(self, name: VmName) -> str:
        """Say that the VM's disks take nothing more; empty where they do, or it is not known."""
        ...

    def images(self, name: VmName) -> list[str]:
        """Name the VM's disks."""
        ...

    def holders(self, images: Sequence[str]) -> list[DiskClient]:
        """Say which clients have the disks open for writing or locked."""
        ...

    def evict(self, holder: DiskClient) -> None:
        """Shut a dead client out for good and break its locks; repeating it is fine."""
        ...

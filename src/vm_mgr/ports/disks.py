"""Say what disks VMs have, make them larger, give a VM further ones and take them away."""

from collections.abc import Callable
from typing import Protocol

from vm_mgr.model.capacity import Room
from vm_mgr.model.storage import Disk, DiskInfo, DiskTies, ImageFile
from vm_mgr.model.vm import VmName

__all__ = ["Disks"]


class Disks(Protocol):
    """Disks of a VM by number; 0, the system disk, comes and goes with the VM.

    A VM's disks are numbered without gaps: that is what everybody who reads the storage goes by. Each verb
    can be repeated after an interruption. The definition and a running guest are the caller's to tell.
    """

    def of(self, name: VmName) -> list[DiskInfo]:
        """Describe the VM's disks, the system disk first."""
        ...

    def locate(self, name: VmName, number: int, bus: str | None) -> Disk:
        """Say how a domain reaches a VM's disk; that takes no look at it."""
        ...

    def resize(self, name: VmName, image: str, size_bytes: int) -> None:
        """Make a disk larger; a running guest is told by the caller."""
        ...

    def next_number(self, name: VmName) -> int:
        """Number the next disk; raises WRONG_STATE for gaps, EXISTS where something else has its place."""
        ...

    def make(
        self,
        name: VmName,
        number: int,
        size_bytes: int,
        image: ImageFile | None,
        on_progress: Callable[[float], None],
    ) -> None:
        """Make the next disk out of everybody's sight, empty or from an image; progress from 0 to 1.

        Until it is placed, the storage's `unstage` removes it.
        """
        ...

    def place(self, name: VmName, number: int) -> None:
        """Make the disk that was made one of the VM's."""
        ...

    def drop(self, name: VmName, number: int) -> None:
        """Delete the VM's last disk; absent is fine."""
        ...

    def ties(self, name: VmName, number: int) -> DiskTies:
        """Say what needs a disk; raises NOT_FOUND for no such disk."""
        ...

    def room(self) -> Room:
        """Say how much the storage can hold, its own copies not counted."""
        ...

    def full(self, name: VmName) -> str:
        """Say that the VM's disks take nothing more; empty where they do, or it is not known."""
        ...

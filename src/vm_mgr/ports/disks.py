"""Give a VM further disks, take them away, make clones independent."""

from collections.abc import Callable
from typing import Protocol

from vm_mgr.model.storage import DiskTies, ImageFile
from vm_mgr.model.vm import VmName

__all__ = ["Disks"]


class Disks(Protocol):
    """Single disks of a VM by number; 0, the system disk, comes and goes with the VM.

    A VM's disks are numbered without gaps: that is what everybody who reads the storage goes by. Each verb
    can be repeated after an interruption. The definition and a running guest are the caller's to tell.
    """

    def next_disk(self, name: VmName) -> int:
        """Number the next disk; raises WRONG_STATE for gaps, EXISTS where something else has its place."""
        ...

    def make_disk(
        self,
        name: VmName,
        number: int,
        size_bytes: int,
        image: ImageFile | None,
        on_progress: Callable[[float], None],
    ) -> None:
        """Make the next disk out of everybody's sight, empty or from an image; progress from 0 to 1.

        Until it is placed, `unstage` removes it.
        """
        ...

    def place_disk(self, name: VmName, number: int) -> None:
        """Make the disk that was made one of the VM's."""
        ...

    def drop_disk(self, name: VmName, number: int) -> None:
        """Delete the VM's last disk; absent is fine."""
        ...

    def disk_ties(self, name: VmName, number: int) -> DiskTies:
        """Say what needs a disk; raises NOT_FOUND for no such disk."""
        ...

    def flatten(self, name: VmName, image: str, on_progress: Callable[[float], None]) -> None:
        """Give a clone blocks of its own for all that it shares; one that shares nothing is fine."""
        ...

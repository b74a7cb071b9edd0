"""Keep the memory of guests that are paused between two nodes."""

from collections.abc import Callable
from typing import Protocol

from vm_mgr.model.saved_state import SavedState
from vm_mgr.model.vm import VmName

__all__ = ["SavedMemory"]


class SavedMemory(Protocol):
    """At most one state of a VM, beside its disks; in order: prepare, store, commit, consume, load, delete.

    A kill between any two leaves one that is complete and untaken, or none that may be resumed.
    """

    def prepare(self, name: VmName, size_bytes: int) -> str:
        """Make room, in place of an earlier state; gives the path of the file that is to be written.

        There is no such file yet. Raises NO_RESOURCES where so many bytes have no room.
        """
        ...

    def store(self, name: VmName, state: SavedState, on_progress: Callable[[float], None]) -> SavedState:
        """Have the file's content in the storage for good; gives the state with size, digest and moment.

        An error that on_progress raises ends it.
        """
        ...

    def commit(self, name: VmName, state: SavedState) -> None:
        """Make it complete, once nobody has the disks open: the one step that decides.

        Raises WRONG_STATE where the disks are not what they were when it was kept.
        """
        ...

    def of(self, name: VmName) -> SavedState | None:
        """Tell what there is, complete or not; none for most VMs."""
        ...

    def disk_fingerprint(self, name: VmName) -> str:
        """Describe the disks by what changes when one is written, replaced or resized."""
        ...

    def consume(self, name: VmName) -> None:
        """Make it one that is never resumed again, for good; raises WRONG_STATE for all but the first."""
        ...

    def load(self, name: VmName, state: SavedState, on_progress: Callable[[float], None]) -> str:
        """Give the path of a file with what was kept; raises EXTERNAL_FAILURE where it is not that.

        An error that on_progress raises ends it.
        """
        ...

    def delete(self, name: VmName) -> None:
        """Remove it, whatever it is; absent is fine."""
        ...

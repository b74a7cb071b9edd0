"""Keep states of VMs' disks."""

from typing import Protocol

from vm_mgr.model.storage import Consistency, Snapshot
from vm_mgr.model.vm import VmName

__all__ = ["Snapshots"]


class Snapshots(Protocol):
    """Each verb covers all disks of a VM, and can be repeated after an interruption."""

    def of(self, name: VmName) -> list[Snapshot]:
        """List a VM's snapshots, the oldest first; raises NOT_FOUND for no such VM."""
        ...

    def take(self, name: VmName, snapshot: str, consistency: Consistency) -> None:
        """Take one on every disk; that they show one instant is up to the caller, who pauses the guest."""
        ...

    def regrade(self, name: VmName, snapshot: str, consistency: Consistency) -> None:
        """Correct what one that was taken has caught."""
        ...

    def drop(self, name: VmName, snapshot: str) -> None:
        """Delete one from every disk that has it; absent is fine."""
        ...

    def roll_back(self, name: VmName, snapshot: str) -> None:
        """Take every disk that has it back to it.

        Raises WRONG_STATE while somebody has a disk open, and has touched none then; once one was touched, a
        failure is an EXTERNAL_FAILURE. A lock that a dead client has left is no hindrance.
        """
        ...

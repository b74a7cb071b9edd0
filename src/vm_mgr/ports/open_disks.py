"""Change disks that a running VM has open, through its hypervisor."""

from collections.abc import Sequence
from typing import Protocol

from vm_mgr.model.vm import VmName

__all__ = ["OpenDisks"]


class OpenDisks(Protocol):
    """A VM's running QEMU, on whichever node it is: the only one that may write to an open qcow2 file.

    The files are those of the VM's disks. Both verbs raise WRONG_STATE where the VM doesn't run.
    """

    def take_snapshot(self, name: VmName, files: Sequence[str], snapshot: str) -> None:
        """Take an internal snapshot of all files at one instant (blockdev-snapshot-internal-sync).

        It is one QMP `transaction`, or comes to the same: where it fails nothing is changed.
        """
        ...

    def drop_snapshot(self, name: VmName, files: Sequence[str], snapshot: str) -> None:
        """Delete it from these files, which have it (blockdev-snapshot-delete-internal-sync).

        Where it fails some may have it still; it is repeated for these.
        """
        ...

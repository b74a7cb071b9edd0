"""Say who has disks open, and shut out who is dead."""

from collections.abc import Sequence
from typing import Protocol

from vm_mgr.model.storage import DiskClient
from vm_mgr.model.vm import VmName

__all__ = ["DiskClients"]


class DiskClients(Protocol):
    """Disk clients, as the storage sees them."""

    def images(self, name: VmName) -> list[str]:
        """Name the VM's disks as clients open them, the system disk first."""
        ...

    def of(self, images: Sequence[str]) -> list[DiskClient]:
        """Say which clients have the disks open for writing or locked."""
        ...

    def evict(self, client: DiskClient) -> None:
        """Shut a dead client out for good and break its locks; repeating it is fine.

        Where locks end with their node this leaves them to fencing.
        """
        ...

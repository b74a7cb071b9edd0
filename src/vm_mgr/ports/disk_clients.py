"""Say who has disks open, and shut out who is dead."""

from collections.abc import Sequence
from typing import Protocol

from vm_mgr.model.storage import DiskClient, DiskSource
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

    def image_of(self, source: str) -> str:
        """Name the image by the source that `disks.locate` gives for it; empty for another source."""
        ...

    def opened(self, sources: Sequence[DiskSource]) -> list[str]:
        """Name the images that are named as such, where clients of them can be told by their address.

        This takes no look at the storage: it is answered while that is silent.
        """
        ...

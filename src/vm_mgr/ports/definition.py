"""Read and prepare domain definitions."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from vm_mgr.errors import VmMgrError
from vm_mgr.model.storage import Disk
from vm_mgr.model.vm import VmName

__all__ = ["Definitions", "Prepared"]


class Prepared(NamedTuple):
    """A definition that is ready to start, and what was done to get there."""

    xml: str
    uuid: str
    foreign_disks: tuple[str, ...] = ()


class Definitions(Protocol):
    """Domain XML, as libvirt understands it."""

    def problems(self, xml: str) -> list[VmMgrError]:
        """Check that a text is a domain that can be prepared."""
        ...

    def uuid(self, xml: str) -> str:
        """Read the UUID in lower case with dashes, or the empty string."""
        ...

    def prepare(self, xml: str, name: VmName, disks: Sequence[Disk], *, fresh: bool = False) -> Prepared:
        """Enforce name, UUID and MAC addresses (new ones if fresh), and put the disks in place."""
        ...

    def renamed(self, xml: str, name: VmName, sources: Mapping[str, str]) -> str:
        """Replace the name, and the sources of the disks."""
        ...

    def name(self, xml: str) -> str:
        """Read the domain's name."""
        ...

    def disk_files(self, xml: str) -> list[tuple[str, str]]:
        """Name the files and block devices behind the domain's hard disks, in order, with their formats."""
        ...

    def rbd_images(self, xml: str, pool: str) -> list[str]:
        """Name the images of the pool that the domain opens for writing."""
        ...

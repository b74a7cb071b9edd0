"""Keep VMs' disks and definitions."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from vm_mgr.model.storage import Disk, Holder, ImageFile
from vm_mgr.model.vm import VmName, VmSettings

__all__ = ["Staged", "Storage"]


class Staged(Protocol):
    """A VM that is being created: invisible until commit, gone if the context is left without it."""

    def fill(self, image: ImageFile, on_progress: Callable[[float], None]) -> None:
        """Copy the image into the system disk; progress from 0 to 1."""
        ...

    def describe(self, *, xml: str, base_xml: str, settings: VmSettings) -> None:
        """Write the definition and the settings beside the disk."""
        ...

    def commit(self) -> None:
        """Make it the VM of that name, replacing what was there."""
        ...


class Storage(Protocol):
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

    def definitions(self) -> Mapping[VmName, str]:
        """Give the domain XML of every VM whose definition can be read."""
        ...

    def inspect(self, path: str) -> ImageFile:
        """Look at an image file; raises INVALID or NOT_FOUND for one that can't be imported."""
        ...

    def system_disk(self, name: VmName, bus: str | None) -> Disk:
        """Say how a domain reaches the VM's system disk."""
        ...

    def stage(self, name: VmName, size_bytes: int) -> AbstractContextManager[Staged]:
        """Begin a VM under a temporary name; raises TRY_LATER when somebody else is at it."""
        ...

    def remove(self, name: VmName) -> bool:
        """Delete disks, definition and what an unfinished creation left; tells whether there was anything."""
        ...

    def images(self, name: VmName) -> list[str]:
        """Name the VM's disks."""
        ...

    def holders(self, images: Sequence[str]) -> list[Holder]:
        """Say which clients have the disks open for writing or locked."""
        ...

    def evict(self, holder: Holder) -> None:
        """Shut a dead client out for good and break its locks; repeating it is fine."""
        ...

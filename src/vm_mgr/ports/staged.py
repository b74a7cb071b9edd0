"""Make a VM's disks out of everybody's sight."""

from collections.abc import Callable, Mapping
from typing import Protocol

from vm_mgr.model.storage import ImageFile
from vm_mgr.model.vm import VmSettings

__all__ = ["Staged"]


class Staged(Protocol):
    """A VM whose disks are being made: invisible until commit, gone if the context is left without it."""

    def add(self, size_bytes: int) -> None:
        """Make the next disk, empty; the first one is the system disk."""
        ...

    def add_clone(self, image: str, snapshot: str) -> None:
        """Make the next disk at once from the snapshot of another one, whose blocks it shares."""
        ...

    def fill(self, image: ImageFile, on_progress: Callable[[float], None]) -> None:
        """Copy an image file into the disk that was made last; progress from 0 to 1."""
        ...

    def compare(self, image: ImageFile, on_progress: Callable[[float], None]) -> None:
        """Read the disk that was made last and the image; raises EXTERNAL_FAILURE where they differ."""
        ...

    def copy(self, image: str, snapshot: str, on_progress: Callable[[float], None]) -> None:
        """Copy the snapshot of another disk into the disk that was made last; progress from 0 to 1."""
        ...

    def describe(
        self, *, xml: str, base_xml: str, settings: VmSettings, notes: Mapping[str, str], nvram: bytes = b""
    ) -> None:
        """Write definition, settings, the operation's notes and the NVRAM beside the system disk."""
        ...

    def commit(self) -> None:
        """Make it the VM of that name, replacing what was there."""
        ...

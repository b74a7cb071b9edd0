"""Say what clones share with their source, and end that."""

from collections.abc import Callable
from typing import Protocol

from vm_mgr.model.vm import VmName

__all__ = ["Clones", "WholeClones"]


class Clones(Protocol):
    """Clones that share blocks; a storage whose clones are whole from the start has `WholeClones`."""

    def of(self, name: VmName) -> list[str]:
        """Name the images that share blocks with the VM's disks and would be lost with them."""
        ...

    def flatten(self, name: VmName, image: str, on_progress: Callable[[float], None]) -> None:
        """Give a clone blocks of its own for all that it shares; one that shares nothing is fine."""
        ...


class WholeClones:
    """Clones that share nothing that would be lost."""

    def of(self, name: VmName) -> list[str]:  # noqa: ARG002 - the same for every VM
        """Name nothing."""
        return []

    def flatten(self, name: VmName, image: str, on_progress: Callable[[float], None]) -> None:
        """Do nothing: it stands alone already."""

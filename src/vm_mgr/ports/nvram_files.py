"""Read and write what this node has of a VM's UEFI variables and TPM while the VM runs here."""

from typing import NamedTuple, Protocol

from vm_mgr.model.nvram import NvramPlaces
from vm_mgr.model.vm import VmName

__all__ = ["KeptNvram", "NvramFiles"]


class KeptNvram(NamedTuple):
    """What this node knows of a VM since it started or arrived: the places, and what the storage has."""

    places: NvramPlaces
    digest: str


class NvramFiles(Protocol):
    """Files of this node; those that can't be read or written raise ENVIRONMENT."""

    def read(self, places: NvramPlaces) -> bytes:
        """Give what is there, packed (model/nvram.py); empty where there is nothing."""
        ...

    def place(self, places: NvramPlaces, packed: bytes) -> None:
        """Have exactly this there: other files of the same places are removed."""
        ...

    def kept(self, name: VmName) -> KeptNvram | None:
        """Tell what was noted of a VM; none for one that did not run here since the boot."""
        ...

    def note(self, name: VmName, places: NvramPlaces, digest: str, *, as_of_s: float) -> None:
        """Note it; the agent's monitor sees what has changed since as_of_s, in seconds since 1970."""
        ...

    def forget(self, name: VmName) -> None:
        """Take the note away; absent is fine."""
        ...

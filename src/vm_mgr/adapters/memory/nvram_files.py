"""UEFI variables and TPMs of a node in memory."""

from vm_mgr.model.nvram import NvramPlaces
from vm_mgr.model.vm import VmName
from vm_mgr.ports.nvram_files import KeptNvram

__all__ = ["MemoryNvramFiles"]


class MemoryNvramFiles:
    """What lies at each place, and the notes."""

    def __init__(self) -> None:
        self.there: dict[NvramPlaces, bytes] = {}
        self.notes: dict[VmName, KeptNvram] = {}
        self.as_of_s: dict[VmName, float] = {}

    def read(self, places: NvramPlaces) -> bytes:
        """Give it."""
        return self.there.get(places, b"")

    def place(self, places: NvramPlaces, packed: bytes) -> None:
        """Replace it."""
        self.there[places] = packed

    def kept(self, name: VmName) -> KeptNvram | None:
        """Give the note."""
        return self.notes.get(name)

    def note(self, name: VmName, places: NvramPlaces, digest: str, *, as_of_s: float) -> None:
        """Remember."""
        self.notes[name] = KeptNvram(places, digest)
        self.as_of_s[name] = as_of_s

    def forget(self, name: VmName) -> None:
        """Forget."""
        self.notes.pop(name, None)

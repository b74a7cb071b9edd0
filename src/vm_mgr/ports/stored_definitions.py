"""Keep what belongs to VMs beside their disks: definition, settings and other metadata."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from vm_mgr.model.exclusive_index import Exclusives
from vm_mgr.model.vm import VmName, VmSettings

__all__ = ["Read", "StoredDefinitions"]

Read = Callable[[str], Iterable[tuple[str, str]]]


class StoredDefinitions(Protocol):
    """All of it comes with the VM's disks, and goes with them."""

    def names(self) -> set[VmName]:
        """Name every VM that is defined."""
        ...

    def exists(self, name: VmName) -> bool:
        """Tell whether a VM is defined."""
        ...

    def read(self, name: VmName) -> str:
        """Give the domain XML that is started; raises NOT_FOUND."""
        ...

    def settings(self, name: VmName) -> VmSettings:
        """Give the settings; raises NOT_FOUND."""
        ...

    def change_settings(self, name: VmName, settings: VmSettings) -> None:
        """Replace the settings; the user's own notes are added to, and one with an empty value is removed."""
        ...

    def metadata(self, name: VmName) -> Mapping[str, str]:
        """Give all keys beside the disk, the definition among them, whatever wrote them; raises NOT_FOUND.

        A value may be empty or hold NULs; bytes that are no UTF-8 are Python's surrogate escapes.
        """
        ...

    def describe(self, name: VmName, metadata: Mapping[str, str | None]) -> None:
        """Set keys of the metadata, the definition `xml` among them; None or an empty value removes one."""
        ...

    def nvram(self, name: VmName, snapshot: str = "") -> bytes:
        """Give UEFI variables and TPM (model/nvram.py), those of now or of a snapshot; empty for none."""
        ...

    def keep_nvram(self, name: VmName, packed: bytes) -> None:
        """Replace it; snapshots, rollbacks, renames and removals of the VM take it along."""
        ...

    def exclusive(self, read: Read, *, keep: bool = True) -> Mapping[VmName, Exclusives]:
        """Say of every VM what no other may have: read takes it from the domain XML.

        What was read once is kept for the next time, unless keep forbids it, and read again for a new VM and
        for a changed definition.
        """
        ...

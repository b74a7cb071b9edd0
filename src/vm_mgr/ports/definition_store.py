"""Keep what belongs to VMs beside their disks, for storages that only one node can open at a time."""

from collections.abc import Mapping
from typing import Protocol

from vm_mgr.model.vm import VmName

__all__ = ["DefinitionStore"]


class DefinitionStore(Protocol):
    """Keys and texts by VM, the definition `xml` among them; the caller has locked the VM's name.

    Out of reach raises EXTERNAL_FAILURE. Each change is done as a whole, or not at all.
    """

    def names(self) -> set[VmName]:
        """Name every VM of which something is kept."""
        ...

    def metadata(self, name: VmName) -> Mapping[str, str]:
        """Give all keys; raises NOT_FOUND."""
        ...

    def describe(self, name: VmName, metadata: Mapping[str, str | None]) -> None:
        """Set keys; None or an empty value removes one, and the last key's end is the VM's.

        Raises NO_RESOURCES where there is no room.
        """
        ...

    def rename(self, name: VmName, new: VmName) -> None:
        """Keep it all by another name, in place of what that had; absent is fine."""
        ...

    def remove(self, name: VmName) -> bool:
        """Forget it all, and tell whether there was anything."""
        ...

"""Keep what a storage whose disks only one node can open at a time has to know on all nodes."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from vm_mgr.model.vm import VmName

__all__ = ["Kept", "StorageRecords"]


class Kept(NamedTuple):
    """disks: the storage's own key → text; definitions: VM → key → text. An edit changes both in place."""

    disks: dict[str, str]
    definitions: dict[VmName, dict[str, str]]


class StorageRecords(Protocol):
    """One place for the whole cluster; out of reach raises EXTERNAL_FAILURE or ENVIRONMENT."""

    def read(self) -> Kept:
        """Give what there is now."""
        ...

    def change(self, edit: Callable[[Kept], None]) -> None:
        """Change it in one transaction; edit is called again where another change came first.

        Raises NO_RESOURCES where there is no room, TRY_LATER where others keep coming first, and whatever
        edit raises: nothing is changed then.
        """
        ...

"""Meet the storage and snapshots ports by handing each call on to the storage that has the VM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vm_mgr.adapters.storage_set.storages import StorageSet
    from vm_mgr.model.storage import DiskClient
    from vm_mgr.model.vm import VmName

__all__ = ["RoutedStorage"]


class RoutedStorage:
    """All storages as one; a VM that is in none of them is one of the default storage.

    Every verb whose first argument is a VM's name goes to the storage that has it; that is most of them.
    """

    def __init__(self, storages: StorageSet) -> None:
        self._storages = storages

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        def forward(name: VmName, *arguments: Any, **named: Any) -> Any:
            return getattr(self._storages.get(self._storages.label_of(name)), verb)(name, *arguments, **named)

        return forward

    def names(self) -> set[VmName]:
        """Name the VMs of all."""
        return {name for storage in self._all() for name in storage.names()}

    def exists(self, name: VmName) -> bool:
        """Look in all."""
        return self._storages.label_of(name) != ""

    def uuids(self, read: Callable[[str], str], *, keep: bool = True) -> Mapping[VmName, str]:
        """Give those of all."""
        known = [storage.uuids(read, keep=keep) for storage in self._all()]
        return {name: uuid for one in known for name, uuid in one.items()}

    def unstage(self, name: VmName) -> bool:
        """Recover what was left in any of them."""
        return True in [storage.unstage(name) for storage in self._all()]

    def rename(self, name: VmName, new: VmName) -> None:
        """Give another name; one that was interrupted may have got as far as the new one."""
        self._storages.get(self._storages.label_of(name) or self._storages.label_of(new)).rename(name, new)

    def remove(self, name: VmName) -> bool:
        """Delete it where it is; of a VM that is nowhere, what an unfinished operation left anywhere."""
        label = self._storages.label_of(name)
        storages = [self._storages.get(label)] if label else self._all()
        return True in [storage.remove(name) for storage in storages]

    def holders(self, images: Sequence[str]) -> list[DiskClient]:
        """Ask all: an image's name does not tell where it is."""
        return [holder for storage in self._all() for holder in storage.holders(images)]

    def _all(self) -> list[Any]:
        return [self._storages.get(label) for label in self._storages.labels()]

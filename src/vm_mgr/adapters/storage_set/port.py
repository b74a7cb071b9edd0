"""Meet the storage port by handing each call on to the storage that has the VM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from vm_mgr.adapters.storage_set.storages import StorageSet
    from vm_mgr.model.exclusive_index import Exclusives
    from vm_mgr.model.storage import DiskClient, DiskSource
    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.clones import Clones
    from vm_mgr.ports.disks import Disks
    from vm_mgr.ports.saved_memory import SavedMemory
    from vm_mgr.ports.snapshots import Snapshots
    from vm_mgr.ports.staged import Staged
    from vm_mgr.ports.storage import Storage
    from vm_mgr.ports.stored_definitions import Read

__all__ = ["RoutedStorage"]


class RoutedPart:
    """A part of all storages: a verb whose first argument is a VM's name goes to the storage that has it."""

    def __init__(self, storages: StorageSet, part: str) -> None:
        self._storages = storages
        self._part = part

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        def forward(name: VmName, *arguments: Any, **named: Any) -> Any:
            part = getattr(_having(self._storages, name), self._part)
            return getattr(part, verb)(name, *arguments, **named)

        return forward


class RoutedDefinitions(RoutedPart):
    """What is known of the VMs of all storages."""

    def names(self) -> set[VmName]:
        """Name the VMs of all."""
        return {name for storage in _all(self._storages) for name in storage.definitions.names()}

    def exists(self, name: VmName) -> bool:
        """Look in all."""
        return self._storages.label_of(name) != ""

    def exclusive(self, read: Read, *, keep: bool = True) -> Mapping[VmName, Exclusives]:
        """Give those of all."""
        known = [storage.definitions.exclusive(read, keep=keep) for storage in _all(self._storages)]
        return {name: found for one in known for name, found in one.items()}


class RoutedClients(RoutedPart):
    """The clients of all storages: an image's name does not tell where it is."""

    def of(self, images: Sequence[str]) -> list[DiskClient]:
        """Ask all."""
        return [client for storage in _all(self._storages) for client in storage.clients.of(images)]

    def evict(self, client: DiskClient) -> None:
        """Tell all: who does not know the client has nothing to do."""
        for storage in _all(self._storages):
            storage.clients.evict(client)

    def image_of(self, source: str) -> str:
        """Ask all."""
        return next(filter(None, (one.clients.image_of(source) for one in _all(self._storages))), "")

    def opened(self, sources: Sequence[DiskSource]) -> list[str]:
        """Ask all."""
        return [image for storage in _all(self._storages) for image in storage.clients.opened(sources)]


class RoutedStorage:
    """All storages as one; a VM that is in none of them is one of the default storage."""

    def __init__(self, storages: StorageSet) -> None:
        self._storages = storages
        self.definitions = RoutedDefinitions(storages, "definitions")
        self.disks = cast("Disks", RoutedPart(storages, "disks"))
        self.snapshots = cast("Snapshots", RoutedPart(storages, "snapshots"))
        self.clones = cast("Clones", RoutedPart(storages, "clones"))
        self.saved_memory = cast("SavedMemory", RoutedPart(storages, "saved_memory"))
        self.clients = RoutedClients(storages, "clients")

    def stage(self, name: VmName) -> AbstractContextManager[Staged]:
        """Begin a VM where one of that name is."""
        return _having(self._storages, name).stage(name)

    def unstage(self, name: VmName) -> bool:
        """Recover what was left in any of them."""
        return True in [storage.unstage(name) for storage in _all(self._storages)]

    def rename(self, name: VmName, new: VmName) -> None:
        """Give another name; one that was interrupted may have got as far as the new one."""
        self._storages.get(self._storages.label_of(name) or self._storages.label_of(new)).rename(name, new)

    def remove(self, name: VmName) -> bool:
        """Delete it where it is; of a VM that is nowhere, what an unfinished operation left anywhere."""
        label = self._storages.label_of(name)
        storages = [self._storages.get(label)] if label else _all(self._storages)
        return True in [storage.remove(name) for storage in storages]


def _having(storages: StorageSet, name: VmName) -> Storage:
    return storages.get(storages.label_of(name))


def _all(storages: StorageSet) -> list[Storage]:
    return [storages.get(label) for label in storages.labels()]

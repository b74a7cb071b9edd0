"""Keep the storages of the configuration; each is built when it is first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vm_mgr.errors import Kind, UnknownNameError, VmMgrError
from vm_mgr.model.resource import ClusterParts, Dependency
from vm_mgr.model.storage import Identified
from vm_mgr.ports.cluster_storage import ClusterStorage, Handover, NoHandover

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vm_mgr.model.storage import DiskSource
    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.storage import Storage

__all__ = ["StorageEntry", "StorageSet"]


class StorageEntry(NamedTuple):
    """A storage of the configuration: how to build it, and the resource that its VMs need on their node.

    names, identify: what can be told without building it.
    """

    build: Callable[[], Storage]
    storage_resource: str = ""
    names: Callable[[], set[VmName]] | None = None
    identify: Callable[[Sequence[DiskSource]], Identified] | None = None


class StorageSet:
    """Storages by label; the default one comes first."""

    def __init__(self, places: Mapping[str, StorageEntry]) -> None:
        self._places = places
        self._built: dict[str, Storage] = {}

    def labels(self) -> Sequence[str]:
        """Name all."""
        return list(self._places)

    def get(self, label: str) -> Storage:
        """Give one."""
        label = label or next(iter(self._places))
        if label not in self._places:
            hint = f"there are: {', '.join(self._places)}"
            raise UnknownNameError(f"there is no storage {label!r}", label, self._places, hint=hint)
        if label not in self._built:
            self._built[label] = self._places[label].build()
        return self._built[label]

    def names(self, label: str) -> set[VmName]:
        """Name the VMs of one."""
        names = self._places[label].names if label in self._places else None
        return names() if names is not None else self.get(label).definitions.names()

    def identified(self, label: str, sources: Sequence[DiskSource]) -> Identified:
        """Ask for them without the storage."""
        identify = self._places[label].identify if label in self._places else None
        return identify(sources) if identify is not None else Identified()

    def label_of(self, name: VmName) -> str:
        """Ask one after the other."""
        failures = []
        for label in self._places:
            try:
                if self.get(label).definitions.exists(name):
                    return label
            except VmMgrError as error:
                if error.kind is not Kind.EXTERNAL_FAILURE:
                    raise
                failures.append(error)
        if failures:
            raise failures[0]
        return ""

    def cluster_parts(self, label: str, name: VmName) -> ClusterParts:
        """Give the storage's resource, and what the storage itself wants."""
        shared = self._places[label or next(iter(self._places))].storage_resource
        storage = self.get(label)
        parts = storage.cluster_parts(name) if isinstance(storage, ClusterStorage) else ClusterParts()
        return parts._replace(depends_on=(*([Dependency(shared)] if shared else []), *parts.depends_on))

    def handover(self, label: str) -> Handover:
        """Ask the storage."""
        storage = self.get(label)
        return storage if isinstance(storage, Handover) else NoHandover()

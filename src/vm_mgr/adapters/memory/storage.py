"""Storage in memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from vm_mgr.adapters.memory.handover import MemoryHandover
from vm_mgr.adapters.memory.pool import KeptVm, MemoryPool
from vm_mgr.adapters.memory.saved_memory import MemorySavedMemory
from vm_mgr.adapters.memory.storage_parts import (
    MemoryClients,
    MemoryClones,
    MemoryDefinitions,
    MemoryDisks,
    MemorySnapshots,
)
from vm_mgr.errors import Kind, UnknownNameError, VmMgrError
from vm_mgr.model.resource import ClusterParts
from vm_mgr.model.storage import DiskSource, Identified, ImageFile
from vm_mgr.model.vm import VmName, VmSettings

__all__ = ["MemoryStorage", "MemoryStorages"]

LABEL = "ceph"  # it stands for Ceph


class MemoryStaged:
    """A VM whose disks are being made."""

    def __init__(self, storage: "MemoryStorage", name: VmName) -> None:
        self.storage = storage
        self.name = name
        self.vm = KeptVm()

    def add(self, size_bytes: int) -> None:
        """Make an empty disk."""
        self.storage.may_fail("add")
        self._add("", size_bytes)

    def add_clone(self, image: str, snapshot: str) -> None:
        """Share another disk's content."""
        self.storage.may_fail("add_clone")
        source, number = self.storage.find(image)
        self._add(source.snapshots[snapshot][1][number], source.sizes[number], parent=image)

    def fill(self, image: ImageFile, on_progress: Callable[[float], None]) -> None:
        """Remember which image it came from."""
        self.storage.may_fail("fill")
        self.vm.disks[-1] = image.path
        on_progress(1.0)

    def compare(self, image: ImageFile, on_progress: Callable[[float], None]) -> None:
        """Compare what was remembered."""
        if self.vm.disks[-1] != image.path:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "the copy differs")
        on_progress(1.0)

    def copy(self, image: str, snapshot: str, on_progress: Callable[[float], None]) -> None:
        """Copy another disk's content."""
        self.storage.may_fail("copy")
        source, number = self.storage.find(image)
        self.vm.disks[-1] = source.snapshots[snapshot][1][number]
        on_progress(1.0)

    def describe(
        self, *, xml: str, base_xml: str, settings: VmSettings, notes: Mapping[str, str], nvram: bytes = b""
    ) -> None:
        """Keep definition and settings."""
        self.storage.may_fail("describe")
        self.vm.nvram = {"": nvram} if nvram else {}
        self.vm.settings = settings
        given = {**settings.user_metadata, **notes, "vm_name": self.name, "xml": xml, "_base_xml": base_xml}
        self.vm.describe(given)

    def commit(self) -> None:
        """Make it visible."""
        self.storage.may_fail("commit")
        self.storage.vms[self.name] = self.vm
        self.storage.saved_memory.states.pop(self.name, None)

    def _add(self, content: str, size_bytes: int, parent: str = "") -> None:
        self.vm.disks.append(content)
        self.vm.sizes.append(size_bytes)
        self.vm.parents.append(parent)


class MemoryStorage(MemoryPool):
    """The whole of it."""

    def __init__(self) -> None:
        super().__init__()
        self.definitions = MemoryDefinitions(self)
        self.disks = MemoryDisks(self)
        self.snapshots = MemorySnapshots(self)
        self.clones = MemoryClones(self)
        self.saved_memory = MemorySavedMemory(self)
        self.clients = MemoryClients(self)

    @contextmanager
    def stage(self, name: VmName) -> Iterator[MemoryStaged]:
        """Begin a VM."""
        yield MemoryStaged(self, name)

    def unstage(self, name: VmName) -> bool:
        """Find at most a disk that was made and not placed."""
        self.made.pop(name, None)
        return False

    def rename(self, name: VmName, new: VmName) -> None:
        """Give another name."""
        self.may_fail("rename")
        if name in self.vms:
            self.vms[new] = self.vms.pop(name)

    def remove(self, name: VmName) -> bool:
        """Delete."""
        self.may_fail("remove")
        self.made.pop(name, None)
        self.saved_memory.states.pop(name, None)
        return self.vms.pop(name, None) is not None


class MemoryStorages:
    """The one storage of a cluster in memory."""

    def __init__(self, storage: MemoryStorage) -> None:
        self.storage = storage
        self.handovers = MemoryHandover()
        self.parts: Callable[[VmName], ClusterParts] = lambda _: ClusterParts()

    def labels(self) -> Sequence[str]:
        """Name it."""
        return [LABEL]

    def get(self, label: str) -> MemoryStorage:
        """Give it."""
        if label not in ("", LABEL):
            message = f"there is no storage {label!r}"
            raise UnknownNameError(message, label, [LABEL], hint=f"there is: {LABEL}")
        return self.storage

    def names(self, label: str) -> set[VmName]:
        """Ask it."""
        return self.get(label).definitions.names()

    def identified(self, label: str, sources: Sequence[DiskSource]) -> Identified:
        """Know one way to name a disk."""
        return Identified(tuple(self.get(label).clients.opened(sources)))

    def label_of(self, name: VmName) -> str:
        """Tell whether it has a VM."""
        return LABEL if self.storage.definitions.exists(name) else ""

    def cluster_parts(self, label: str, name: VmName) -> ClusterParts:  # noqa: ARG002 - there is one
        """Need what a test has said."""
        return self.parts(name)

    def handover(self, label: str) -> MemoryHandover:  # noqa: ARG002
        """Give what remembers."""
        return self.handovers

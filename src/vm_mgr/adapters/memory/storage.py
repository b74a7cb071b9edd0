"""Storage in memory."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager

from vm_mgr.adapters.memory.handover import MemoryHandover
from vm_mgr.adapters.memory.saved_states import MemorySavedStates
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.capacity import Room
from vm_mgr.model.resource import ClusterParts
from vm_mgr.model.storage import Consistency, Disk, DiskClient, DiskInfo, DiskTies, ImageFile, Snapshot
from vm_mgr.model.uuid_index import refreshed, uuids
from vm_mgr.model.vm import VmName, VmSettings

__all__ = ["MemoryStorage", "MemoryStorages"]

LABEL = "ceph"  # it stands for Ceph


class _Vm:
    """What is stored for a VM: the content of its disks, the definition, the snapshots' contents."""

    def __init__(self) -> None:
        self.disks: list[str] = []
        self.sizes: list[int] = []
        self.parents: list[str] = []
        self.keys: dict[str, str] = {}
        self.settings = VmSettings()
        self.snapshots: dict[str, tuple[Snapshot, list[str], list[int]]] = {}

    def describe(self, given: Mapping[str, str | None]) -> None:
        """Set keys, and take away those that have no value."""
        kept = {key: value for key, value in self.keys.items() if given.get(key, "kept")}
        self.keys = {**kept, **{key: value for key, value in given.items() if value}}


class MemoryStaged:
    """A VM whose disks are being made."""

    def __init__(self, storage: "MemoryStorage", name: VmName) -> None:
        self.storage = storage
        self.name = name
        self.vm = _Vm()

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

    def describe(self, *, xml: str, base_xml: str, settings: VmSettings, notes: Mapping[str, str]) -> None:
        """Keep definition and settings."""
        self.storage.may_fail("describe")
        self.vm.settings = settings
        given = {**settings.user_metadata, **notes, "vm_name": self.name, "xml": xml, "_base_xml": base_xml}
        self.vm.describe(given)

    def commit(self) -> None:
        """Make it visible."""
        self.storage.may_fail("commit")
        self.storage.vms[self.name] = self.vm
        self.storage.states.pop(self.name, None)

    def _add(self, content: str, size_bytes: int, parent: str = "") -> None:
        self.vm.disks.append(content)
        self.vm.sizes.append(size_bytes)
        self.vm.parents.append(parent)


class MemoryStorage(MemorySavedStates):
    """VMs in a dictionary; failing names the step that is to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.vms: dict[VmName, _Vm] = {}
        self.index: dict[VmName, str] = {}
        self.full_for = ""
        self.held: list[DiskClient] = []
        self.evicted: list[DiskClient] = []
        self.made: dict[VmName, tuple[int, str, int]] = {}
        self.failing = ""
        self.has_room = Room(total_bytes=1 << 50, free_bytes=1 << 50)
        self.running: Container[VmName] = ()
        self.taken = 0

    def may_fail(self, step: str) -> None:
        """Fail if this is the step that is to fail."""
        if step == self.failing:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"the storage failed in {step}")

    def names(self) -> set[VmName]:
        """Name every VM."""
        self.may_fail("names")
        return set(self.vms)

    def exists(self, name: VmName) -> bool:
        """Tell whether a VM is defined."""
        return name in self.names()

    def definition(self, name: VmName) -> str:
        """Give the domain XML."""
        try:
            return self._vm(name).keys["xml"]
        except KeyError as error:
            raise VmMgrError(Kind.NOT_FOUND, f"{name} has no definition") from error

    def settings(self, name: VmName) -> VmSettings:
        """Give the settings."""
        vm = self._vm(name)
        own = {
            key: text
            for key, text in vm.keys.items()
            if not key.startswith("_") and key not in ("xml", "vm_name")
        }
        return vm.settings._replace(user_metadata=own)

    def uuids(self, read: Callable[[str], str], *, keep: bool = True) -> Mapping[VmName, str]:
        """Read those of VMs that are not in the index."""
        self.may_fail("uuids")
        present = {name: str(id(vm)) for name, vm in self.vms.items()}
        fresh = refreshed(self.index, present, lambda name: read(self.vms[name].keys["xml"]))
        self.index = fresh if keep else self.index
        return uuids(fresh)

    def metadata(self, name: VmName) -> Mapping[str, str]:
        """Give all keys."""
        return dict(self._vm(name).keys)

    def change_settings(self, name: VmName, settings: VmSettings) -> None:
        """Replace the settings."""
        self.may_fail("change_settings")
        self._vm(name).settings = settings
        self._vm(name).describe(settings.user_metadata)

    def describe(self, name: VmName, metadata: Mapping[str, str | None]) -> None:
        """Set and remove keys."""
        self.may_fail("describe")
        self._vm(name).describe(metadata)

    def disk(self, name: VmName, number: int, bus: str | None) -> Disk:
        """Say how a domain reaches a disk."""
        return Disk(f"rbd/{_image(name, number)}", bus=bus or "virtio")

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
        self.states.pop(name, None)
        return self.vms.pop(name, None) is not None

    def images(self, name: VmName) -> list[str]:
        """Name the VM's disks."""
        count = len(self.vms[name].disks) if name in self.vms else 1
        return [_image(name, number) for number in range(count)]

    def disks(self, name: VmName) -> list[DiskInfo]:
        """Describe the disks."""
        vm = self._vm(name)
        described = zip(self.images(name), vm.sizes, vm.parents, strict=True)
        return [DiskInfo(image, size, parent=parent) for image, size, parent in described]

    def resize(self, name: VmName, image: str, size_bytes: int) -> None:
        """Grow a disk."""
        self._vm(name).sizes[self.images(name).index(image)] = size_bytes

    def full(self, name: VmName) -> str:  # noqa: ARG002 - the same for every VM
        """Say what a test has set."""
        return self.full_for

    def disk_fingerprint(self, name: VmName) -> str:
        """Give content and sizes."""
        vm = self._vm(name)
        return repr([vm.disks, vm.sizes])

    def next_disk(self, name: VmName) -> int:
        """Count."""
        return len(self._vm(name).disks)

    def make_disk(
        self,
        name: VmName,
        number: int,
        size_bytes: int,
        image: ImageFile | None,
        on_progress: Callable[[float], None],
    ) -> None:
        """Keep it beside the VM."""
        self.may_fail("make_disk")
        self.made[name] = (number, image.path if image else "", size_bytes)
        on_progress(1.0)

    def place_disk(self, name: VmName, number: int) -> None:
        """Put it among the VM's."""
        self.may_fail("place_disk")
        vm = self._vm(name)
        if name in self.made:
            _, content, size_bytes = self.made.pop(name)
            vm.disks.append(content)
            vm.sizes.append(size_bytes)
            vm.parents.append("")
        elif number >= len(vm.disks):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"no disk was made for {name}")

    def drop_disk(self, name: VmName, number: int) -> None:
        """Forget it."""
        self.may_fail("drop_disk")
        vm = self._vm(name)
        for kept in (vm.disks, vm.sizes, vm.parents):
            del kept[number:]

    def disk_ties(self, name: VmName, number: int) -> DiskTies:
        """Look through snapshots and clones."""
        vm = self._vm(name)
        if not 0 <= number < len(vm.disks):
            raise VmMgrError(Kind.NOT_FOUND, f"{name} has no disk {number}")
        having = [snapshot.name for snapshot, contents, _ in vm.snapshots.values() if number < len(contents)]
        image = _image(name, number)
        clones = [disk.image for other in self.vms for disk in self.disks(other) if disk.parent == image]
        return DiskTies(tuple(having), tuple(clones))

    def flatten(self, name: VmName, image: str, on_progress: Callable[[float], None]) -> None:
        """Forget the parent."""
        self.may_fail("flatten")
        self._vm(name).parents[self.images(name).index(image)] = ""
        on_progress(1.0)

    def dependents(self, name: VmName) -> list[str]:
        """List the clones."""
        own = self.images(name)
        return sorted(disk.image for other in self.vms for disk in self.disks(other) if disk.parent in own)

    def room(self) -> Room:
        """Give what a test has set."""
        self.may_fail("room")
        return self.has_room

    def snapshots(self, name: VmName) -> list[Snapshot]:
        """List the snapshots."""
        return [snapshot for snapshot, *_ in self._vm(name).snapshots.values()]

    def take_snapshot(self, name: VmName, snapshot: str, consistency: Consistency) -> None:
        """Keep the disks' content."""
        self.may_fail("take_snapshot")
        vm = self._vm(name)
        self.taken += 1
        taken = Snapshot(snapshot, float(self.taken), consistency)
        vm.snapshots.setdefault(snapshot, (taken, [*vm.disks], [*vm.sizes]))

    def regrade(self, name: VmName, snapshot: str, consistency: Consistency) -> None:
        """Correct it."""
        taken, disks, sizes = self._vm(name).snapshots[snapshot]
        self._vm(name).snapshots[snapshot] = (taken._replace(consistency=consistency), disks, sizes)

    def drop_snapshot(self, name: VmName, snapshot: str) -> None:
        """Forget the content."""
        self.may_fail("drop_snapshot")
        self._vm(name).snapshots.pop(snapshot, None)

    def roll_back(self, name: VmName, snapshot: str) -> None:
        """Take content and sizes back."""
        self.may_fail("roll_back")
        if any(one.watching for one in self.holders(self.images(name))) or name in self.running:
            raise VmMgrError(Kind.WRONG_STATE, f"a disk of {name} is in use")
        vm = self._vm(name)
        _, contents, sizes = vm.snapshots[snapshot]
        for number, (content, size) in enumerate(zip(contents, sizes, strict=True)):
            vm.disks[number : number + 1], vm.sizes[number : number + 1] = [content], [size]
            self.may_fail("roll_back half")

    def holders(self, images: Sequence[str]) -> list[DiskClient]:
        """Say who has them open."""
        return [holder for holder in self.held if holder.image in images]

    def evict(self, holder: DiskClient) -> None:
        """Shut out."""
        self.evicted.append(holder)
        if holder in self.held:
            self.held.remove(holder)

    def find(self, image: str) -> tuple[_Vm, int]:
        """Find a disk by its image."""
        for name, vm in self.vms.items():
            if image in self.images(name):
                return vm, self.images(name).index(image)
        raise VmMgrError(Kind.NOT_FOUND, f"there is no disk {image}")

    def _vm(self, name: VmName) -> _Vm:
        try:
            return self.vms[name]
        except KeyError as error:
            raise VmMgrError(Kind.NOT_FOUND, f"{name} has no definition") from error


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
            raise VmMgrError(Kind.NOT_FOUND, f"there is no storage {label!r}", hint=f"there is: {LABEL}")
        return self.storage

    def names(self, label: str) -> set[VmName]:
        """Ask it."""
        return set(self.get(label).names())

    def label_of(self, name: VmName) -> str:
        """Tell whether it has a VM."""
        return LABEL if self.storage.exists(name) else ""

    def cluster_parts(self, label: str, name: VmName) -> ClusterParts:  # noqa: ARG002 - there is one
        """Need what a test has said."""
        return self.parts(name)

    def handover(self, label: str) -> MemoryHandover:  # noqa: ARG002
        """Give what remembers."""
        return self.handovers


def _image(name: VmName, number: int) -> str:
    return f"data_{name}_{number - 1}" if number else f"system_{name}"

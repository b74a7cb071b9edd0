"""The parts of the storage in memory; what they work with is the storage's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.exclusive_index import exclusives, refreshed
from vm_mgr.model.storage import (
    Consistency,
    Disk,
    DiskClient,
    DiskInfo,
    DiskKind,
    DiskTies,
    NetworkAccess,
    Snapshot,
    disk_image,
    disk_owner,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vm_mgr.adapters.memory.pool import MemoryPool
    from vm_mgr.model.capacity import Room
    from vm_mgr.model.exclusive_index import Exclusives
    from vm_mgr.model.storage import DiskSource, ImageFile
    from vm_mgr.model.vm import VmName, VmSettings
    from vm_mgr.ports.stored_definitions import Read

__all__ = ["MemoryClients", "MemoryClones", "MemoryDefinitions", "MemoryDisks", "MemorySnapshots"]

# It stands for Ceph.
POOL = "rbd"
ACCESS = NetworkAccess("rbd", "libvirt", "ceph", "client.libvirt secret")


class MemoryDefinitions:
    """Keys of VMs."""

    def __init__(self, pool: MemoryPool) -> None:
        self.pool = pool

    def names(self) -> set[VmName]:
        """Name every VM."""
        self.pool.may_fail("definitions.names")
        return set(self.pool.vms)

    def exists(self, name: VmName) -> bool:
        """Tell whether a VM is defined."""
        return name in self.names()

    def read(self, name: VmName) -> str:
        """Give the domain XML."""
        try:
            return self.pool.vm(name).keys["xml"]
        except KeyError as error:
            raise VmMgrError(Kind.NOT_FOUND, f"{name} has no definition") from error

    def settings(self, name: VmName) -> VmSettings:
        """Give the settings."""
        vm = self.pool.vm(name)
        own = {
            key: text
            for key, text in vm.keys.items()
            if not key.startswith("_") and key not in ("xml", "vm_name")
        }
        return vm.settings._replace(user_metadata=own)

    def change_settings(self, name: VmName, settings: VmSettings) -> None:
        """Replace the settings."""
        self.pool.may_fail("definitions.change_settings")
        self.pool.vm(name).settings = settings
        self.pool.vm(name).describe(settings.user_metadata)

    def metadata(self, name: VmName) -> Mapping[str, str]:
        """Give all keys."""
        return dict(self.pool.vm(name).keys)

    def describe(self, name: VmName, metadata: Mapping[str, str | None]) -> None:
        """Set and remove keys."""
        self.pool.may_fail("definitions.describe")
        self.pool.vm(name).describe(metadata)
        if "xml" in metadata:
            self.pool.index.pop(name, None)

    def nvram(self, name: VmName, snapshot: str = "") -> bytes:
        """Give it."""
        return self.pool.vm(name).nvram.get(snapshot, b"")

    def keep_nvram(self, name: VmName, packed: bytes) -> None:
        """Replace it."""
        self.pool.may_fail("definitions.keep_nvram")
        self.pool.vm(name).nvram[""] = packed

    def exclusive(self, read: Read, *, keep: bool = True) -> Mapping[VmName, Exclusives]:
        """Read those of VMs that are not in the index."""
        self.pool.may_fail("definitions.exclusive")
        present = {name: str(id(vm)) for name, vm in self.pool.vms.items()}
        fresh = refreshed(self.pool.index, present, lambda name: read(self.pool.vms[name].keys["xml"]))
        self.pool.index = fresh if keep else self.pool.index
        return exclusives(fresh)


class MemoryDisks:
    """Contents of disks."""

    def __init__(self, pool: MemoryPool) -> None:
        self.pool = pool

    def of(self, name: VmName) -> list[DiskInfo]:
        """Describe the disks."""
        return self.pool.infos(name)

    def locate(self, name: VmName, number: int, bus: str | None) -> Disk:
        """Say how a domain reaches a disk."""
        return Disk(
            f"{POOL}/{disk_image(name, number)}",
            kind=DiskKind.NETWORK,
            format="raw",
            bus=bus or "",
            cache="writeback",
            access=ACCESS,
        )

    def resize(self, name: VmName, image: str, size_bytes: int) -> None:
        """Grow a disk."""
        self.pool.vm(name).sizes[self.pool.image_names(name).index(image)] = size_bytes

    def next_number(self, name: VmName) -> int:
        """Count."""
        return len(self.pool.vm(name).disks)

    def make(
        self,
        name: VmName,
        number: int,
        size_bytes: int,
        image: ImageFile | None,
        on_progress: Callable[[float], None],
    ) -> None:
        """Keep it beside the VM."""
        self.pool.may_fail("disks.make")
        self.pool.made[name] = (number, image.path if image else "", size_bytes)
        on_progress(1.0)

    def place(self, name: VmName, number: int) -> None:
        """Put it among the VM's."""
        self.pool.may_fail("disks.place")
        vm = self.pool.vm(name)
        if name in self.pool.made:
            _, content, size_bytes = self.pool.made.pop(name)
            vm.disks.append(content)
            vm.sizes.append(size_bytes)
            vm.parents.append("")
        elif number >= len(vm.disks):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"no disk was made for {name}")

    def drop(self, name: VmName, number: int) -> None:
        """Forget it."""
        self.pool.may_fail("disks.drop")
        vm = self.pool.vm(name)
        for kept in (vm.disks, vm.sizes, vm.parents):
            del kept[number:]

    def ties(self, name: VmName, number: int) -> DiskTies:
        """Look through snapshots and clones."""
        vm = self.pool.vm(name)
        if not 0 <= number < len(vm.disks):
            raise VmMgrError(Kind.NOT_FOUND, f"{name} has no disk {number}")
        having = [snapshot.name for snapshot, contents, _ in vm.snapshots.values() if number < len(contents)]
        image = disk_image(name, number)
        clones = [disk.image for disk in self.pool.all_infos() if disk.parent == image]
        return DiskTies(tuple(having), tuple(clones))

    def room(self) -> Room:
        """Give what a test has set."""
        self.pool.may_fail("disks.room")
        return self.pool.has_room

    def full(self, name: VmName) -> str:  # noqa: ARG002 - the same for every VM
        """Say what a test has set."""
        return self.pool.full_for


class MemorySnapshots:
    """Contents of disks at an instant."""

    def __init__(self, pool: MemoryPool) -> None:
        self.pool = pool

    def of(self, name: VmName) -> list[Snapshot]:
        """List the snapshots."""
        return [snapshot for snapshot, *_ in self.pool.vm(name).snapshots.values()]

    def take(self, name: VmName, snapshot: str, consistency: Consistency) -> None:
        """Keep the disks' content."""
        self.pool.may_fail("snapshots.take")
        vm = self.pool.vm(name)
        self.pool.taken += 1
        taken = Snapshot(snapshot, float(self.pool.taken), consistency)
        vm.snapshots.setdefault(snapshot, (taken, [*vm.disks], [*vm.sizes]))
        if "" in vm.nvram:
            vm.nvram.setdefault(snapshot, vm.nvram[""])

    def regrade(self, name: VmName, snapshot: str, consistency: Consistency) -> None:
        """Correct it."""
        taken, disks, sizes = self.pool.vm(name).snapshots[snapshot]
        self.pool.vm(name).snapshots[snapshot] = (taken._replace(consistency=consistency), disks, sizes)

    def drop(self, name: VmName, snapshot: str) -> None:
        """Forget the content."""
        self.pool.may_fail("snapshots.drop")
        self.pool.vm(name).snapshots.pop(snapshot, None)
        self.pool.vm(name).nvram.pop(snapshot, None)

    def roll_back(self, name: VmName, snapshot: str) -> None:
        """Take content and sizes back."""
        self.pool.may_fail("snapshots.roll_back")
        clients = self.pool.clients_of(self.pool.image_names(name))
        if any(one.watching for one in clients) or name in self.pool.running:
            raise VmMgrError(Kind.WRONG_STATE, f"a disk of {name} is in use")
        vm = self.pool.vm(name)
        _, contents, sizes = vm.snapshots[snapshot]
        for number, (content, size) in enumerate(zip(contents, sizes, strict=True)):
            vm.disks[number : number + 1], vm.sizes[number : number + 1] = [content], [size]
            self.pool.may_fail("snapshots.roll_back half")
        if snapshot in vm.nvram:
            vm.nvram[""] = vm.nvram[snapshot]


class MemoryClones:
    """Disks with a parent."""

    def __init__(self, pool: MemoryPool) -> None:
        self.pool = pool

    def of(self, name: VmName) -> list[str]:
        """List the clones."""
        own = self.pool.image_names(name)
        return sorted(disk.image for disk in self.pool.all_infos() if disk.parent in own)

    def flatten(self, name: VmName, image: str, on_progress: Callable[[float], None]) -> None:
        """Forget the parent."""
        self.pool.may_fail("clones.flatten")
        self.pool.vm(name).parents[self.pool.image_names(name).index(image)] = ""
        on_progress(1.0)


class MemoryClients:
    """Clients that a test has said."""

    def __init__(self, pool: MemoryPool) -> None:
        self.pool = pool

    def images(self, name: VmName) -> list[str]:
        """Name the VM's disks."""
        return self.pool.image_names(name)

    def of(self, images: Sequence[str]) -> list[DiskClient]:
        """Say who has them open."""
        return self.pool.clients_of(images)

    def evict(self, client: DiskClient) -> None:
        """Shut out."""
        self.pool.shut_out(client)

    def image_of(self, source: str) -> str:
        """Take the pool off."""
        in_pool, _, image = source.partition("/")
        return image if in_pool == POOL else ""

    def opened(self, sources: Sequence[DiskSource]) -> list[str]:
        """Name those of network disks; a system disk is one VM's alone, whatever a definition says."""
        network = [one for one in sources if one.protocol == ACCESS.protocol]
        named = [(self.image_of(one.name), one.shareable) for one in network]
        return [
            image for image, shareable in named if image and not (shareable and disk_owner(image) is None)
        ]

"""What all parts of the storage in memory work with."""

from collections.abc import Container, Mapping, Sequence

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.capacity import Room
from vm_mgr.model.storage import DiskClient, DiskInfo, Snapshot, disk_image
from vm_mgr.model.vm import VmName, VmSettings

__all__ = ["KeptVm", "MemoryPool"]


class KeptVm:
    """What is stored for a VM: the content of its disks, the definition, the snapshots' contents."""

    def __init__(self) -> None:
        self.disks: list[str] = []
        self.sizes: list[int] = []
        self.parents: list[str] = []
        self.keys: dict[str, str] = {}
        self.settings = VmSettings()
        self.nvram: dict[str, bytes] = {}
        self.snapshots: dict[str, tuple[Snapshot, list[str], list[int]]] = {}

    def describe(self, given: Mapping[str, str | None]) -> None:
        """Set keys, and take away those that have no value."""
        kept = {key: value for key, value in self.keys.items() if given.get(key, "kept")}
        self.keys = {**kept, **{key: value for key, value in given.items() if value}}


class MemoryPool:
    """VMs in a dictionary; failing names the step that is to fail: a verb, or PART.VERB."""

    def __init__(self) -> None:
        self.vms: dict[VmName, KeptVm] = {}
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

    def vm(self, name: VmName) -> KeptVm:
        """Give a VM; raises NOT_FOUND."""
        try:
            return self.vms[name]
        except KeyError as error:
            raise VmMgrError(Kind.NOT_FOUND, f"{name} has no definition") from error

    def image_names(self, name: VmName) -> list[str]:
        """Name a VM's disks."""
        count = len(self.vms[name].disks) if name in self.vms else 1
        return [disk_image(name, number) for number in range(count)]

    def infos(self, name: VmName) -> list[DiskInfo]:
        """Describe a VM's disks."""
        vm = self.vm(name)
        described = zip(self.image_names(name), vm.sizes, vm.parents, strict=True)
        return [DiskInfo(image, size, parent=parent) for image, size, parent in described]

    def all_infos(self) -> list[DiskInfo]:
        """Describe the disks of all VMs."""
        return [disk for name in self.vms for disk in self.infos(name)]

    def clients_of(self, images: Sequence[str]) -> list[DiskClient]:
        """Say who has disks open."""
        return [client for client in self.held if client.image in images]

    def shut_out(self, client: DiskClient) -> None:
        """Remember that a client is dead."""
        self.evicted.append(client)
        if client in self.held:
            self.held.remove(client)

    def find(self, image: str) -> tuple[KeptVm, int]:
        """Find a disk by its image."""
        for name, vm in self.vms.items():
            if image in self.image_names(name):
                return vm, self.image_names(name).index(image)
        raise VmMgrError(Kind.NOT_FOUND, f"there is no disk {image}")

"""Storage in memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import Disk, Holder, ImageFile
from vm_mgr.model.vm import VmName, VmSettings

__all__ = ["MemoryStorage"]


class _Vm:
    """What is stored for a VM."""

    def __init__(self) -> None:
        self.xml = ""
        self.base_xml = ""
        self.settings = VmSettings()
        self.content = ""


class MemoryStaged:
    """A VM that is being created."""

    def __init__(self, storage: "MemoryStorage", name: VmName) -> None:
        self.storage = storage
        self.name = name
        self.vm = _Vm()

    def fill(self, image: ImageFile, on_progress: Callable[[float], None]) -> None:
        """Remember which image it came from."""
        self.storage.may_fail("fill")
        self.vm.content = image.path
        on_progress(1.0)

    def describe(self, *, xml: str, base_xml: str, settings: VmSettings) -> None:
        """Keep definition and settings."""
        self.storage.may_fail("describe")
        self.vm.xml, self.vm.base_xml, self.vm.settings = xml, base_xml, settings

    def commit(self) -> None:
        """Make it visible."""
        self.storage.may_fail("commit")
        self.storage.vms[self.name] = self.vm


class MemoryStorage:
    """VMs in a dictionary; failing names the step that is to fail."""

    def __init__(self) -> None:
        self.vms: dict[VmName, _Vm] = {}
        self.staging: set[VmName] = set()
        self.held: list[Holder] = []
        self.evicted: list[Holder] = []
        self.failing = ""

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
        return self._vm(name).xml

    def settings(self, name: VmName) -> VmSettings:
        """Give the settings."""
        return self._vm(name).settings

    def definitions(self) -> Mapping[VmName, str]:
        """Give all domain XML."""
        return {name: vm.xml for name, vm in self.vms.items()}

    def inspect(self, path: str) -> ImageFile:
        """Recognise qcow2 by its first bytes."""
        if not Path(path).is_file():
            raise VmMgrError(Kind.NOT_FOUND, f"there is no file {path}")
        head = Path(path).read_bytes()[:32]
        if not head.startswith(b"QFI\xfb"):
            raise VmMgrError(Kind.INVALID, f"{path} is not a qcow2 image")
        return ImageFile(path, "qcow2", int.from_bytes(head[24:32], "big"))

    def system_disk(self, name: VmName, bus: str | None) -> Disk:
        """Say how a domain reaches its disk."""
        return Disk(f"rbd/system_{name}", bus=bus or "virtio")

    @contextmanager
    def stage(self, name: VmName, size_bytes: int) -> Iterator[MemoryStaged]:  # noqa: ARG002 - memory is free
        """Begin a VM."""
        if name in self.staging:
            raise VmMgrError(Kind.TRY_LATER, f"another creation of {name} is under way")
        self.staging.add(name)
        try:
            yield MemoryStaged(self, name)
        finally:
            self.staging.discard(name)

    def remove(self, name: VmName) -> bool:
        """Delete."""
        unfinished = name in self.staging
        self.staging.discard(name)
        return self.vms.pop(name, None) is not None or unfinished

    def images(self, name: VmName) -> list[str]:
        """Name the VM's disks."""
        return [f"system_{name}"]

    def holders(self, images: Sequence[str]) -> list[Holder]:
        """Say who has them open."""
        return [holder for holder in self.held if holder.image in images]

    def evict(self, holder: Holder) -> None:
        """Shut out."""
        self.evicted.append(holder)
        if holder in self.held:
            self.held.remove(holder)

    def _vm(self, name: VmName) -> _Vm:
        try:
            return self.vms[name]
        except KeyError as error:
            raise VmMgrError(Kind.NOT_FOUND, f"{name} has no definition") from error

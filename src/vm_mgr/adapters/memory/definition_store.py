"""Definitions in memory."""

from collections.abc import Mapping

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName

__all__ = ["MemoryDefinitionStore"]


class MemoryDefinitionStore:
    """Keys and texts in a dictionary by VM."""

    def __init__(self) -> None:
        self.vms: dict[VmName, dict[str, str]] = {}

    def names(self) -> set[VmName]:
        """Name them."""
        return set(self.vms)

    def metadata(self, name: VmName) -> Mapping[str, str]:
        """Give all keys."""
        if name not in self.vms:
            raise VmMgrError(Kind.NOT_FOUND, f"{name} has no definition", hint="see: vm-mgr list")
        return dict(self.vms[name])

    def describe(self, name: VmName, metadata: Mapping[str, str | None]) -> None:
        """Set keys."""
        merged = {**self.vms.pop(name, {}), **metadata}
        kept = {key: text for key, text in merged.items() if text}
        if kept:
            self.vms[name] = kept

    def rename(self, name: VmName, new: VmName) -> None:
        """Give another name."""
        if name in self.vms:
            self.vms[new] = self.vms.pop(name)

    def remove(self, name: VmName) -> bool:
        """Forget it."""
        return self.vms.pop(name, None) is not None

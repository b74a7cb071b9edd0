"""Notes of VMs' storage clients, in memory."""

from vm_mgr.model.vm import VmName
from vm_mgr.ports.own_clients import Opened

__all__ = ["MemoryOwnClients"]


class MemoryOwnClients:
    """Notes in a dictionary."""

    def __init__(self) -> None:
        self.notes: dict[VmName, Opened] = {}

    def keep(self, name: VmName, opened: Opened) -> None:
        """Note it."""
        self.notes[name] = opened

    def kept(self, name: VmName) -> Opened | None:
        """Give it."""
        return self.notes.get(name)

    def forget(self, name: VmName) -> None:
        """Forget it."""
        self.notes.pop(name, None)

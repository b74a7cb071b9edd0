"""Look at the node's processes: the last word on whether a VM runs here."""

from typing import Protocol

from vm_mgr.model.vm import VmName

__all__ = ["Processes"]


class Processes(Protocol):
    """Evidence from the kernel; raises ENVIRONMENT where it can't be read, never guesses."""

    def find_vm(self, name: VmName) -> int | None:
        """Give the PID of the VM's QEMU process, or None when it is provably absent."""
        ...

    def mentions(self, text: str) -> list[int]:
        """Give the PIDs of other processes that have the text in their command line."""
        ...

    def end(self, pid: int, *, force: bool) -> None:
        """Send SIGTERM, or SIGKILL by force; a process that is gone is fine."""
        ...

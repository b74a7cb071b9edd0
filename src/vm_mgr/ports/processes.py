"""Look at the node's processes: the last word on whether a VM runs here."""

from typing import Protocol

from vm_mgr.model.vm import VmName

__all__ = ["Processes"]


class Processes(Protocol):
    """Evidence from the kernel; raises ENVIRONMENT where it can't be read, never guesses."""

    def find_vm(self, name: VmName, *, uuid: str = "") -> int | None:
        """Give the PID of the VM's QEMU process, or None when it is provably absent.

        Where a UUID is given, a process of this name that shows another one is not the VM's.
        """
        ...

    def uuid(self, pid: int) -> str:
        """Read the UUID that a QEMU was started with; empty where it shows none."""
        ...

    def birth(self, pid: int) -> str:
        """Give when a process began: with it a PID never means another one. Empty if it is gone."""
        ...

    def has_ended(self, pid: int, birth: str) -> bool:
        """Tell whether the process that began then has provably ended, with all of its threads."""
        ...

    def has_memory(self, pid: int, address: int) -> bool:
        """Tell whether an address is one of the process's own variables; False where that can't be read."""
        ...

    def is_halted(self, pid: int) -> bool:
        """Tell whether a signal or a debugger has stopped the process."""
        ...

    def vcpu_time_ns(self, pid: int) -> int | None:
        """Give how long a QEMU's virtual processors have run; None where that can't be read."""
        ...

    def mentions(self, text: str) -> list[int]:
        """Give the PIDs of other processes that have the text in their command line, as a whole word.

        Letters, digits, dots, dashes and underscores make a word: web1 is not in web10, nor in web1_0.
        """
        ...

    def end(self, pid: int, *, force: bool) -> None:
        """Send SIGTERM, or SIGKILL by force; a process that is gone is fine."""
        ...

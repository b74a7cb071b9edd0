"""Ask for evidence that a running VM is alive, beyond its process."""

from typing import NamedTuple, Protocol

from vm_mgr.model.vm import VmName

__all__ = ["Control", "Evidence"]


class Control(NamedTuple):
    """What libvirt says of its own way to QEMU, which it knows without asking QEMU.

    word: ok; busy (a command waits for QEMU's answer, since busy_s seconds); job (a migration, a backup or
    another job has the VM); broken (the connection is lost); or another word of libvirt's.
    """

    word: str
    busy_s: float = 0.0


class Evidence(Protocol):
    """Every call is bounded in time, and raises EXTERNAL_FAILURE where libvirt fails or hangs."""

    def state(self, name: VmName, pid: int) -> str:
        """Read from libvirt's state file what it says of this process: `paused (user)`, or nothing."""
        ...

    def definition(self, name: VmName, pid: int) -> str:
        """Read from the same file the XML of this process's domain as it is now, or nothing."""
        ...

    def control(self, name: VmName) -> Control:
        """Ask libvirt about its way to QEMU."""
        ...

    def qemu_status(self, name: VmName) -> str:
        """Have QEMU say its state: running, internal-error …"""
        ...

    def agent_answers(self, name: VmName) -> bool | None:
        """Ask the guest's agent for an answer; None where the machine has no channel for one."""
        ...

    def is_deaf(self, name: VmName) -> bool:
        """Tell whether no guest runs that could hear the power button; False where that is not certain."""
        ...

    def disk_requests(self, name: VmName) -> int:
        """Count the reads, writes and flushes of all disks since the machine's start."""
        ...

"""Let a guest go on that a command quiesces, whatever becomes of the command."""

from enum import Enum
from typing import Protocol

from vm_mgr.model.vm import VmName

__all__ = ["Hold", "HoldLimits"]


class Hold(Enum):
    """How a guest is quiesced."""

    FROZEN = "frozen"  # its agent has frozen its file systems
    PAUSED = "paused"  # its processors stand


class HoldLimits(Protocol):
    """Timers of the VM's own node: they outlive the command, its node and the network between the two."""

    def begin(self, name: VmName, hold: Hold, after_s: float) -> None:
        """Have the guest let go on after so many seconds; replaces an earlier limit of the VM.

        Raises EXTERNAL_FAILURE, or what a program raises that is missing, where that is not sure.
        """
        ...

    def end(self, name: VmName) -> None:
        """Forget the limit: the guest goes on, or is gone; none is fine."""
        ...

"""Have something done on this node later, when nobody waits for it any more."""

from typing import Protocol

from vm_mgr.model.vm import VmName

__all__ = ["Timers"]


class Timers(Protocol):
    """A timer outlives the process that sets it, and a shutdown of the node that has begun."""

    def schedule_unblock(self, name: VmName, after_s: float) -> str:
        """Have a VM looked at that a failed live migration may hold here; gives the timer's own name."""
        ...

    def watch(self, name: VmName, pid: int) -> str:
        """Have a VM looked at when a process ends, unless it is cancelled; gives the watch's own name."""
        ...

    def cancel(self, timer: str) -> None:
        """Forget a timer or a watch; one that has gone off is fine."""
        ...

"""Know until when the locks of this process hold: what it does later could meet another command's work."""

import time

from vm_mgr.errors import Kind, VmMgrError

__all__ = ["LEASE_S", "Leases"]

# A lock that nobody renews ends by itself; the OSD's clock decides (cls_lock in Ceph's source).
LEASE_S = 30


class Leases:
    """When each lock ends, by a clock that goes on while the machine sleeps.

    Ceph counts from when it gets a request, this from before it is sent: what has not ended here has not
    ended there.
    """

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}

    def now(self) -> float:
        """Give the time in seconds, to be taken before a lock is asked for."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def hold(self, claim: str, asked: float) -> None:
        """Note that a lock was given or renewed; one that has ended stays so."""
        if self._ends.get(claim, asked) >= asked:
            self._ends[claim] = asked + LEASE_S

    def lose(self, claim: str) -> None:
        """Note that somebody else may have it."""
        self._ends[claim] = float("-inf")

    def release(self, claim: str) -> None:
        """Forget a lock that is given back."""
        self._ends.pop(claim, None)

    def require(self) -> None:
        """Raise TRY_LATER after the end of a lock, before anything is changed under it."""
        now = self.now()
        if any(now > end for end in self._ends.values()):
            message = f"this command was suspended for more than {LEASE_S} s; another one may have taken over"
            raise VmMgrError(Kind.TRY_LATER, message, hint="look at it with vm-mgr list, and run it again")

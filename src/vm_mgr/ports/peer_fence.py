"""What DRBD's handlers ask of the cluster and of DRBD itself."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from vm_mgr.model.peer_fence import Local, View
from vm_mgr.ports.clock import Clock
from vm_mgr.ports.event_log import Journal

__all__ = ["Disks", "FenceConstraints", "PeerFenceEnv"]


class FenceConstraints(Protocol):
    """The constraint that lets only one node of a DRBD resource be promoted; each call has a time limit.

    A cluster that does not answer raises EXTERNAL_FAILURE or ENVIRONMENT.
    """

    def here(self) -> str:
        """Name this node as the cluster does."""
        ...

    def look(self, resource: str, peer: str, stamp: str) -> View:
        """See the peer and the constraint.

        Only if that has this stamp is asked what an answer to DRBD goes by: who has fenced the peer, whether
        there is quorum at this moment, whether others know the constraint.
        """
        ...

    def create(self, resource: str, clone: str, stamp: str) -> bool:
        """Place it for this node; False where one is there already."""
        ...

    def renew(self, resource: str, clone: str, old: str, stamp: str) -> bool:
        """Give this node's constraint another stamp; False where the one with the old stamp is gone."""
        ...

    def remove(self, resource: str, stamp: str) -> None:
        """Remove the one with this stamp, and no other."""
        ...


class Disks(Protocol):
    """DRBD's state on this node, read without its netlink interface where that may wait for the handler."""

    def read(self, resource: str, minors: Sequence[str]) -> Local:
        """Read it; what can't be read is WORSE."""
        ...

    def minors(self, resource: str) -> tuple[str, ...]:
        """Give the minors of all volumes by the configuration; none where that can't be read."""
        ...


class PeerFenceEnv(NamedTuple):
    """All that a handler meets of the world."""

    constraints: FenceConstraints
    disks: Disks
    clock: Clock
    journal: Journal

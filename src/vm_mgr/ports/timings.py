"""Ask for the timeouts that a recovery is made of."""

from typing import Protocol

from vm_mgr.model.timings import CephTimes, ClusterTimes

__all__ = ["Timings"]


class Timings(Protocol):
    """What is in effect or configured; nothing here changes anything."""

    def cluster(self) -> ClusterTimes:
        """Read Corosync's and Pacemaker's; without a running cluster raises ENVIRONMENT."""
        ...

    def ceph(self) -> CephTimes | None:
        """Read Ceph's; None where the configuration has no Ceph. Out of reach raises EXTERNAL_FAILURE."""
        ...

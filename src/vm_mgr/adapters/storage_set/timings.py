"""Gather the timeouts of cluster and storage; each is read when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_mgr.model.timings import CephTimes, ClusterTimes

__all__ = ["BothTimings"]


class BothTimings:
    """The cluster's, and Ceph's where there is one."""

    def __init__(self, cluster: Callable[[], ClusterTimes], ceph: Callable[[], CephTimes] | None) -> None:
        self._cluster = cluster
        self._ceph = ceph

    def cluster(self) -> ClusterTimes:
        """Read the cluster's."""
        return self._cluster()

    def ceph(self) -> CephTimes | None:
        """Read Ceph's."""
        return self._ceph() if self._ceph else None

"""Timeouts as our deployment sets them, for a cluster in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.model.timings import (
    CephTimes,
    ClusterTimes,
    FenceDevice,
    PacemakerTimes,
    TotemTimes,
    VmTimes,
)

if TYPE_CHECKING:
    from vm_mgr.adapters.memory.cluster import MemoryCluster
    from vm_mgr.ports.cluster import VmResource

__all__ = ["MemoryTimings"]


class MemoryTimings:
    """What the tests set; the VMs are those of the cluster in memory."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._members = cluster
        self.totem = TotemTimes(token=1.3, consensus=1.56, join=0.05)
        self.pacemaker = PacemakerTimes(dc_deadtime=10, priority_fencing_delay=5, transition_delay=0.1)
        self.devices = tuple(
            FenceDevice(name=f"fence-{node}", agent="fence_memory", targets=(node,), waits=True)
            for node in cluster.nodes
        )
        self.storage: CephTimes | None = CephTimes(
            osd_heartbeat_interval=2,
            osd_heartbeat_grace=6,
            mon_osd_heartbeat_grace=6,
            mon_osd_adjust_heartbeat_grace=False,
            mon_osd_min_down_reporters=1,
            mon_lease=2,
            mon_election_timeout=2,
            mon_client_ping_interval=1,
            mon_client_ping_timeout=2,
            objecter_timeout=2,
            objecter_tick_interval=1,
            osd_hosts=3,
            sources={"osd_heartbeat_grace": "ceph.conf"},
        )

    def cluster(self) -> ClusterTimes:
        """Give what was set."""
        return ClusterTimes(
            nodes=tuple(self._members.nodes),
            totem=self.totem,
            pacemaker=self.pacemaker,
            devices=self.devices,
            vms=tuple(_vm(one) for one in self._members.resources.values()),
        )

    def ceph(self) -> CephTimes | None:
        """Give what was set."""
        return self.storage


def _vm(vm: VmResource) -> VmTimes:
    return VmTimes(
        name=vm.name,
        start=vm.start_timeout_s + vm.hibernation_s,
        stop=vm.stop_timeout_s + vm.hibernation_s,
        monitor_interval=vm.monitor_interval_s,
        monitor=vm.monitor_timeout_s,
        migrate_to=vm.migrate_to_timeout_s,
        migrate_from=vm.migrate_from_timeout_s,
        live_migration=vm.live_migration,
        storage=vm.params.get("storage", ""),
        depends_on=vm.depends_on[0].on if vm.depends_on else "",
    )

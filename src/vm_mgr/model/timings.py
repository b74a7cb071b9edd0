"""Describe the timeouts that a recovery is made of, as the cluster and its storage have them.

All times are seconds; None is a time that could not be read, zero what Pacemaker takes for "never" or "off".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vm_mgr.model.vm import VmName

__all__ = [
    "CephTimes",
    "ClusterTimes",
    "FenceDevice",
    "PacemakerTimes",
    "PeerHandler",
    "TotemTimes",
    "VmTimes",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TotemTimes:
    """Corosync's membership, by the names of corosync.conf(5): what is in effect, token_coefficient added."""

    token: float | None = None
    token_retransmit: float | None = None
    token_retransmits_before_loss_const: int | None = None
    join: float | None = None
    consensus: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PacemakerTimes:
    """Pacemaker's cluster options; defaults as in pacemaker-controld(7) and pacemaker-schedulerd(7).

    stonith_watchdog_timeout is None where it follows from a variable of the nodes (a negative value).
    have_watchdog: Pacemaker itself sets it where it has found SBD.
    """

    stonith_enabled: bool = True
    stonith_action: str = "reboot"
    no_quorum_policy: str = "stop"
    stonith_timeout: float | None = 60
    stonith_watchdog_timeout: float | None = 0
    have_watchdog: bool = False
    priority_fencing_delay: float | None = 0
    dc_deadtime: float | None = 20
    cluster_delay: float | None = 60
    cluster_recheck_interval: float | None = 900
    transition_delay: float | None = 0
    shutdown_escalation: float | None = 1200

    @property
    def fences_by_watchdog(self) -> bool:
        """Tell whether a lost node fences itself (SBD), as the scheduler judges that."""
        return self.have_watchdog and self.stonith_watchdog_timeout != 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceDevice:
    """One fence device: Pacemaker's parameters (pacemaker-fenced(7)) and the agent's own.

    targets are the nodes that it switches; none where it says that only when it is asked. An own timeout that
    is None is not set: stonith_timeout holds then. waits tells whether power_timeout is in effect: Pacemaker
    switches it off unless disable_timeout says otherwise (fence-agents, lib/fencing.py.py).
    """

    name: str
    agent: str
    targets: tuple[str, ...] = ()
    pcmk_delay_base: float | None = 0
    pcmk_delay_max: float | None = 0
    pcmk_reboot_timeout: float | None = None
    pcmk_off_timeout: float | None = None
    pcmk_reboot_action: str = "reboot"
    method: str = ""
    delay: float | None = 0
    power_wait: float | None = 0
    power_timeout: float | None = 20
    login_timeout: float | None = 5
    waits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VmTimes:
    """A VM as the cluster runs it; monitor_interval is None where nothing looks whether it runs.

    storage is the label that the agent is told, needs the resource that has to run beside it. Zero stands
    for no migration_threshold and for a failure_timeout that never ends.
    """

    name: VmName
    start: float | None = 20
    stop: float | None = 20
    monitor_interval: float | None = None
    monitor: float | None = 20
    migrate_to: float | None = 20
    migrate_from: float | None = 20
    live_migration: bool = False
    migration_threshold: int = 0
    failure_timeout: float | None = 0
    io_error_timeout: float | None = 60
    storage: str = ""
    depends_on: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerHandler:
    """Who answers for a DRBD resource when its peer is lost: drbd.conf(5), fencing and fence-peer.

    understands says whether the program can read how this Pacemaker tells of nodes; None where nobody knows.
    """

    resource: str
    fencing: str = ""
    program: str = ""
    understands: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterTimes:
    """What Corosync and Pacemaker are configured to do.

    tells says whether vm-mgr hears of fenced nodes, and tells Ceph of them.
    silent_devices are the fence devices that have failed or are stopped, peer_handlers DRBD's of this node.
    quorum_device: the nodes have a further vote from a machine that is none of them (corosync-qdevice(8)).
    """

    nodes: tuple[str, ...]
    totem: TotemTimes = TotemTimes()
    pacemaker: PacemakerTimes = PacemakerTimes()
    devices: tuple[FenceDevice, ...] = ()
    vms: tuple[VmTimes, ...] = ()
    tells: bool = False
    silent_devices: tuple[str, ...] = ()
    quorum_device: bool = False
    peer_handlers: tuple[PeerHandler, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CephTimes:
    """Ceph's options by their names; the defaults are Ceph's own.

    sources says where a value stands: ceph.conf, monitors; none for a default. exceptions names daemons,
    clients and machines that have a value of their own, which is not looked at further. osd_hosts is the
    number of machines that storage daemons are on. mon_client_… are those of storage daemons.
    """

    osd_heartbeat_interval: float | None = 6
    osd_heartbeat_grace: float | None = 20
    mon_osd_heartbeat_grace: float | None = 20
    mon_osd_min_down_reporters: int | None = 2
    mon_osd_adjust_heartbeat_grace: bool | None = True
    mon_osd_laggy_max_interval: float | None = 300
    mon_lease: float | None = 5
    mon_lease_ack_timeout_factor: float | None = 2
    mon_election_timeout: float | None = 5
    mon_client_ping_interval: float | None = 10
    mon_client_ping_timeout: float | None = 30
    mon_osd_blocklist_default_expire: float | None = 3600
    rbd_blocklist_expire_seconds: float | None = 0
    osd_client_watch_timeout: float | None = 30
    objecter_timeout: float | None = 10
    objecter_tick_interval: float | None = 5
    rados_osd_op_timeout: float | None = 0
    osd_hosts: int | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    exceptions: tuple[str, ...] = ()

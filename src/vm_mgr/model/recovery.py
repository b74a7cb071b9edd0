"""Foresee how long a VM is away, phase by phase, from the timeouts that are configured.

Times are seconds. What a phase shares with the one before is counted once: Ceph begins to miss a node when
Corosync does, and the agent's start waits for the storage within the start's own timeout.
"""

from dataclasses import dataclass

from vm_mgr.model.storage import GIVEN_UP_S
from vm_mgr.model.timings import CephTimes, ClusterTimes, FenceDevice, VmTimes

__all__ = [
    "CEPH",
    "PAUSE_S",
    "Phase",
    "Recovery",
    "ceph_back",
    "ceph_told",
    "fencing_worst",
    "in_ceph",
    "node_lost",
    "noticed_worst",
    "qemu_died",
]

CEPH = "ceph"
# What a working BMC and an idle node take (docs/reference/performance.md): the fence agent without its waits
# 0.8 s, a start without waiting for the storage about 1 s.
AGENT_S = 1.0
START_S = 1.0
# To mark daemons down and shut clients out, after the end of fencing: the median of eight power cuts of the
# lab; in two of them the monitors were still electing, and it took 1.5 and 2.1 s.
TELL_S = 0.6
# What Pacemaker's controller pauses where changes are under way at the moment of the loss, often twice:
# do_pe_invoke_callback in its controld_schedulerd.c.
PAUSE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of a recovery: seconds, None where nobody can say, and what they are made of."""

    name: str
    typical_s: float | None
    worst_s: float | None
    made_of: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """The phases until QEMU runs again; the guest's own boot comes after that."""

    phases: tuple[Phase, ...]

    @property
    def typical_s(self) -> float | None:
        """Add up; None where a phase is unknown."""
        return add(*(phase.typical_s for phase in self.phases))

    @property
    def worst_s(self) -> float | None:
        """Add up; None where a phase is unknown."""
        return add(*(phase.worst_s for phase in self.phases))


def node_lost(cluster: ClusterTimes, ceph: CephTimes | None, vm: VmTimes) -> Recovery:
    """Foresee what happens after the node of a VM has lost its power or its networks."""
    noticed, fenced = _membership(cluster), _fenced(cluster)
    released = _released(noticed, fenced, ceph, vm, tells=cluster.tells)
    return Recovery(phases=(noticed, fenced, released, _started(vm, released)))


def qemu_died(ceph: CephTimes | None, vm: VmTimes) -> Recovery:
    """Foresee what happens after the QEMU of a VM has ended by itself."""
    interval = vm.monitor_interval
    noticed = Phase(
        name="noticed",
        typical_s=None if interval is None else interval / 2,
        worst_s=add(interval, vm.monitor),
        made_of="half the monitor's interval; at worst all of it and the monitor's timeout"
        if interval is not None
        else "never: it has no monitor operation",
    )
    stopped = Phase(
        name="stopped",
        typical_s=0.0,
        worst_s=vm.stop,
        made_of="Pacemaker stops before it starts: at once for what doesn't run, at worst the stop timeout",
    )
    released = _let_go(ceph, vm)
    return Recovery(phases=(noticed, stopped, released, _started(vm, released)))


def noticed_worst(cluster: ClusterTimes) -> float | None:
    """Give how long the loss of a node may stay unnoticed.

    corosync.conf(5): token is how long a token may be away, consensus how long to wait for agreement before
    a new round of forming the membership is started; one such round may fail for a message that was lost.
    """
    totem = cluster.totem
    return add(totem.token, totem.consensus, totem.consensus)


def fencing_worst(cluster: ClusterTimes) -> float | None:
    """Give how long one attempt to fence a node may take, by all devices for it; None if there is no way."""
    pacemaker = cluster.pacemaker
    if not cluster.devices:
        return pacemaker.stonith_watchdog_timeout if pacemaker.fences_by_watchdog else None
    attempts = [add(*(attempt(cluster, one) for one in _for(cluster, node))) for node in _targets(cluster)]
    head_start = pacemaker.priority_fencing_delay if len(cluster.nodes) % 2 == 0 else 0.0
    return add(_longest(attempts), head_start)


def attempt(cluster: ClusterTimes, device: FenceDevice) -> float | None:
    """Give how long Pacemaker lets a device try, with its delay.

    pacemaker-fenced(7): pcmk_reboot_timeout stands in for stonith-timeout; get_device_timeout in its
    fenced_remote.c adds pcmk_delay_max, or pcmk_delay_base where there is none.
    """
    reboots = cluster.pacemaker.stonith_action == "reboot"
    own = device.pcmk_reboot_timeout if reboots else device.pcmk_off_timeout
    return add(
        cluster.pacemaker.stonith_timeout if own is None else own,
        device.pcmk_delay_max or device.pcmk_delay_base,
    )


def ceph_back(ceph: CephTimes) -> tuple[float | None, float | None]:
    """Give how long after the loss of a node its storage daemons are missed, typically and at worst.

    Ceph's documentation, "Configuring Monitor/OSD Interaction": an OSD that has been silent for
    osd_heartbeat_grace is reported by its neighbours, who look every osd_heartbeat_interval or sooner; the
    grace is stretched by up to mon_osd_laggy_max_interval where mon_osd_adjust_heartbeat_grace is true. The
    monitors count these reports only with a leader: without it they elect after mon_lease times
    mon_lease_ack_timeout_factor, for up to mon_election_timeout. A client that waits for the OSD asks for
    the newest map after objecter_timeout, which it checks every objecter_tick_interval. A storage daemon
    whose monitor was lost reports, and hears of the new map, when it has another one: after
    mon_client_ping_timeout, which it checks every mon_client_ping_interval.
    """
    noticed = add(
        _longest([ceph.osd_heartbeat_grace, ceph.mon_osd_heartbeat_grace]), ceph.osd_heartbeat_interval
    )
    lease, factor = ceph.mon_lease, ceph.mon_lease_ack_timeout_factor
    elected = None if lease is None or factor is None else add(lease * factor, ceph.mon_election_timeout)
    found = add(ceph.mon_client_ping_timeout, ceph.mon_client_ping_interval)
    stretched = ceph.mon_osd_laggy_max_interval if ceph.mon_osd_adjust_heartbeat_grace else 0.0
    asked = add(ceph.objecter_timeout, ceph.objecter_tick_interval)
    if ceph.mon_osd_adjust_heartbeat_grace is None:
        stretched = None
    return (
        add(noticed, ceph.objecter_timeout),
        add(noticed, _longest([elected, found]), asked, stretched),
    )


def ceph_told(ceph: CephTimes, fenced_s: float | None) -> float | None:
    """Give how long after the loss of a node Ceph knows of it from vm-mgr, told once the node is fenced.

    The node's monitor is lost too: Ceph listens when the others have elected.
    """
    lease, factor = ceph.mon_lease, ceph.mon_lease_ack_timeout_factor
    elected = None if lease is None or factor is None else add(lease * factor, ceph.mon_election_timeout)
    return add(_longest([elected, fenced_s]), TELL_S)


def in_ceph(vm: VmTimes, ceph: CephTimes | None) -> bool:
    """Tell whether a VM's disks are in Ceph: one that isn't names its storage, or what mounts it."""
    return ceph is not None and not vm.depends_on and vm.storage in ("", CEPH)


def add(*seconds: float | None) -> float | None:
    """Add up; None with anything that is None.

    >>> add(1, 2.5), add(1, None), add()
    (3.5, None, 0.0)
    """
    total = 0.0
    for one in seconds:
        if one is None:
            return None
        total += one
    return round(total, 3)


def _membership(cluster: ClusterTimes) -> Phase:
    return Phase(
        name="noticed",
        typical_s=add(cluster.totem.token, cluster.totem.consensus),
        worst_s=noticed_worst(cluster),
        made_of="Corosync's token and consensus; at worst one more round of consensus",
    )


def _fenced(cluster: ClusterTimes) -> Phase:
    pacemaker = cluster.pacemaker
    if not pacemaker.stonith_enabled:
        words = "not at all: fencing is off, and the VM may run twice"
        return Phase(name="fenced", typical_s=0.0, worst_s=0.0, made_of=words)
    if not cluster.devices:
        limit = fencing_worst(cluster)
        none = "there is no fence device: VMs of a lost node stay down"
        words = "stonith-watchdog-timeout" if pacemaker.fences_by_watchdog else none
        return Phase(name="fenced", typical_s=limit, worst_s=limit, made_of=words)
    first = [_typical(one) for node in _targets(cluster) for one in _for(cluster, node)[:1]]
    begins_s = PAUSE_S if pacemaker.transition_delay == 0 else pacemaker.transition_delay
    return Phase(
        name="fenced",
        typical_s=add(_longest(first), begins_s),
        worst_s=fencing_worst(cluster),
        made_of="Pacemaker's transition-delay, or its own pause where that is 0; the slowest device's delay,"
        " power_wait for off and on, and its agent; at worst its timeout. While fencing fails, VMs of the"
        " node stay down",
    )


def _typical(device: FenceDevice) -> float | None:
    base, most = device.pcmk_delay_base, device.pcmk_delay_max
    delay = None if base is None or most is None else max(base, (base + most) / 2)
    switches = 2 if device.method != "cycle" and device.pcmk_reboot_action == "reboot" else 1
    waits = None if device.power_wait is None else switches * device.power_wait
    return add(delay, device.delay, waits, AGENT_S)


def _released(noticed: Phase, fenced: Phase, ceph: CephTimes | None, vm: VmTimes, *, tells: bool) -> Phase:
    name = "storage released"
    if ceph is None or not in_ceph(vm, ceph):
        return _unknown(name, vm)
    typical, worst = ceph_back(ceph)
    fenced_s = add(noticed.typical_s, fenced.typical_s)
    made_of = "what Ceph still takes to miss the node's storage daemons and to tell the client; at worst"
    told = ceph_told(ceph, fenced_s) if tells else None
    if told is not None:
        typical = told if typical is None else min(typical, told)
        made_of = "what Ceph's monitors take to elect, and vm-mgr to tell them of the node; at worst until"
        made_of += " Ceph has missed its storage daemons by itself,"
    return Phase(
        name=name,
        typical_s=_beyond(typical, fenced_s),
        worst_s=_within(_beyond(worst, noticed.typical_s), vm),
        made_of=f"{made_of} with an election of monitors, and with fencing done at once",
    )


def _let_go(ceph: CephTimes | None, vm: VmTimes) -> Phase:
    name = "storage released"
    if ceph is None or not in_ceph(vm, ceph):
        return _unknown(name, vm)
    return Phase(
        name=name,
        typical_s=0.0,
        worst_s=_within(add(ceph.osd_client_watch_timeout, GIVEN_UP_S), vm),
        made_of="at once, as the node blocklists its dead client; at worst, where Ceph does not answer it,"
        f" osd_client_watch_timeout and {GIVEN_UP_S:.0f} s",
    )


def _unknown(name: str, vm: VmTimes) -> Phase:
    words = "not known for this storage: the start waits for it, at worst until its timeout"
    return Phase(name=name, typical_s=None, worst_s=_beyond(vm.start, START_S), made_of=words)


def _started(vm: VmTimes, released: Phase) -> Phase:
    return Phase(
        name="started",
        typical_s=START_S,
        worst_s=_beyond(vm.start, released.worst_s),
        made_of="the agent's checks and libvirt; at worst the rest of the start timeout",
    )


def _targets(cluster: ClusterTimes) -> tuple[str, ...]:
    """Name the nodes that can be fenced; any node's devices count where none says for whom it is."""
    return tuple(node for node in cluster.nodes if _for(cluster, node)) or cluster.nodes[:1]


def _for(cluster: ClusterTimes, node: str) -> tuple[FenceDevice, ...]:
    return tuple(one for one in cluster.devices if not one.targets or node in one.targets)


def _longest(seconds: list[float | None]) -> float | None:
    known = [one for one in seconds if one is not None]
    return max(known) if known and len(known) == len(seconds) else None


def _beyond(seconds: float | None, passed: float | None) -> float | None:
    return None if seconds is None or passed is None else round(max(seconds - passed, 0.0), 3)


def _within(seconds: float | None, vm: VmTimes) -> float | None:
    """Limit what a start waits for to its timeout."""
    limit = _beyond(vm.start, START_S)
    return None if seconds is None or limit is None else min(seconds, limit)

"""Find timeouts that contradict each other, and fence devices that do not work.

Each rule names its source. A time that could not be read breaks no rule; the report says that it is unknown.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from vm_mgr.model.cluster import left_unfenced
from vm_mgr.model.recovery import PAUSE_S, add, attempt, ceph_back, fencing_worst, in_ceph, noticed_worst
from vm_mgr.model.timings import CephTimes, ClusterTimes, FenceDevice, VmTimes

__all__ = ["Inconsistency", "Severity", "inconsistencies", "spell"]

# A processor that two busy programs share pauses each for several hundred milliseconds.
LEAST_TOKEN_S = 1.0
# What our agent does by itself before anything is wrong: it looks at an ending QEMU for 5 s, and asks libvirt
# to resume a paused one for 5 s (ocf/VirtualDomain); of a stop it keeps 10 s to power off, of a start 10 s
# for cleaning up, or half of a shorter one (vm_mgr/ocf).
LEAST_MONITOR_S = 10.0
LOADED_MONITOR_S = 20.0
RESERVE_S = 10.0


class Severity(Enum):
    """An error lets recovery fail, or endangers what is well; a warning makes it slower or less certain."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inconsistency:
    """Two settings, as (name, value), that don't fit together; subject is the VM or device they are of."""

    severity: Severity
    code: str
    first: tuple[str, str]
    second: tuple[str, str]
    why: str
    remedy: str
    subject: str = ""


def inconsistencies(cluster: ClusterTimes, ceph: CephTimes | None) -> list[Inconsistency]:
    """Apply all rules; errors come first."""
    found = [
        *_totem(cluster),
        *_fencing(cluster),
        *(one for device in cluster.devices for one in _device(cluster, device)),
        *_waiting(cluster),
        *_peer_handlers(cluster),
        *(_ceph(ceph) if ceph else ()),
        *(_clients(cluster, ceph) if ceph else ()),
        *(one for vm in cluster.vms for one in _vm(cluster, vm)),
        *(one for vm in cluster.vms if ceph and in_ceph(vm, ceph) for one in _vm_in_ceph(ceph, cluster, vm)),
    ]
    return sorted(found, key=lambda one: one.severity is not Severity.ERROR)


def spell(seconds: float | None) -> str:
    """Write seconds for people.

    >>> spell(1.3), spell(60.0), spell(None)
    ('1.3 s', '60 s', 'unknown')
    """
    return "unknown" if seconds is None else f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"


def _error(
    code: str, first: tuple[str, str], second: tuple[str, str], why: str, remedy: str, subject: str = ""
) -> Inconsistency:
    return Inconsistency(
        severity=Severity.ERROR,
        code=code,
        first=first,
        second=second,
        why=why,
        remedy=remedy,
        subject=subject,
    )


def _warning(
    code: str, first: tuple[str, str], second: tuple[str, str], why: str, remedy: str, subject: str = ""
) -> Inconsistency:
    return Inconsistency(
        severity=Severity.WARNING,
        code=code,
        first=first,
        second=second,
        why=why,
        remedy=remedy,
        subject=subject,
    )


def _totem(cluster: ClusterTimes) -> Iterator[Inconsistency]:
    """Check what corosync.conf(5) says: consensus is at least 1.2 times token, but for two nodes."""
    totem = cluster.totem
    token, consensus = ("token", spell(totem.token)), ("consensus", spell(totem.consensus))
    least = None if totem.token is None or len(cluster.nodes) <= 2 else 1.2 * totem.token
    if least is not None and totem.consensus is not None and totem.consensus < least - 0.002:
        why = "members that are well can be left out while a membership is formed, and are fenced then"
        remedy = f"consensus: {round(1000 * least)} in corosync.conf (milliseconds), or leave it out"
        yield _error("consensus", consensus, token, why, remedy)
    if totem.token is not None and totem.token < LEAST_TOKEN_S:
        why = (
            "a busy machine of two cores pauses programs for several hundred milliseconds: it would be fenced"
        )
        load = ("pause under load", f"up to {spell(LEAST_TOKEN_S)}")
        yield _warning("token", token, load, why, "token: 1300 in corosync.conf (milliseconds)")


def _fencing(cluster: ClusterTimes) -> Iterator[Inconsistency]:
    """Check that there is fencing, and who wins where two halves shoot at each other.

    Pacemaker Explained: priority-fencing-delay should be "significantly greater than, safely twice, the
    maximum pcmk_delay_base/max".
    """
    pacemaker, devices = cluster.pacemaker, cluster.devices
    number = ("fence devices", str(len(devices)))
    watchdog = ("stonith-watchdog-timeout", spell(pacemaker.stonith_watchdog_timeout))
    if not pacemaker.stonith_enabled:
        why = "a node that is only cut off counts as dead, and its VMs are started a second time"
        yield _error("no-fencing", ("stonith-enabled", "false"), number, why, "stonith-enabled=true")
    elif not devices and not pacemaker.fences_by_watchdog:
        why = "nothing can fence a lost node, so its VMs stay down"
        yield _error("no-device", number, watchdog, why, "a fence device for every node")
    yield from _silent(cluster)
    yield from _delays(cluster)
    timeout, dog = pacemaker.stonith_timeout, pacemaker.stonith_watchdog_timeout
    if timeout is not None and dog and timeout < dog:
        why = "Pacemaker waits for the watchdog all the same and warns of it"
        remedy = f"stonith-timeout={dog:g}s or more"
        yield _warning("watchdog", ("stonith-timeout", spell(timeout)), watchdog, why, remedy)


def _silent(cluster: ClusterTimes) -> Iterator[Inconsistency]:
    """Find the fence devices that would not work now, and the nodes that no other one fences."""
    targets = {one.name: one.targets for one in cluster.devices}
    for name, known, alone in left_unfenced(targets, cluster.silent_devices):
        shown = ", ".join(alone) or ("none" if known else "unknown")
        make = _error if alone or not known else _warning
        why = "nothing can fence such a node when it is lost, so its VMs stay down"
        if known and not alone:
            why = f"only other devices can still fence {', '.join(known)}"
        pair = ("fence device", "failed or stopped"), ("nodes that no other device fences", shown)
        remedy = f"mend it (see crm_mon -1), then: crm_resource --cleanup --resource {name}"
        yield make("device-silent", *pair, why, remedy, name)


def _delays(cluster: ClusterTimes) -> Iterator[Inconsistency]:
    head_start = cluster.pacemaker.priority_fencing_delay
    delays = [one.pcmk_delay_max or one.pcmk_delay_base for one in cluster.devices]
    longest = max((one for one in delays if one is not None), default=0.0)
    if head_start is None or None in delays:
        return
    shown = ("priority-fencing-delay", spell(head_start))
    if head_start and head_start < 2 * longest:
        why = "the delay drawn by lot can be longer than the head start of the side whose VMs matter more"
        remedy = f"priority-fencing-delay={2 * longest:g}s"
        yield _warning("priority-fencing-delay", shown, ("pcmk_delay_max", spell(longest)), why, remedy)
    halves = len(cluster.nodes) % 2 == 0 and not cluster.quorum_device  # which has quorum in one half only
    if halves and cluster.devices and not head_start and not longest:
        why = "no side has the majority when they lose each other: both may fence the other one"
        yield _warning(
            "same-delay", shown, ("nodes", str(len(cluster.nodes))), why, "priority-fencing-delay=15s"
        )


def _device(cluster: ClusterTimes, device: FenceDevice) -> Iterator[Inconsistency]:
    """Check that an attempt has the time that the agent takes.

    fence-agents' lib/fencing.py.py: after each switching the agent sleeps power_wait and then looks at the
    power power_timeout times, a second apart; without such a limit until Pacemaker ends it. A reboot is off
    and on, and has succeeded even if the node does not come on.
    """
    limit = attempt(cluster, device)
    wait, delay = device.power_wait, add(device.delay, device.pcmk_delay_max or device.pcmk_delay_base)
    if limit is None or wait is None or delay is None or device.power_timeout is None:
        return
    reboots = cluster.pacemaker.stonith_action == "reboot" and device.pcmk_reboot_action == "reboot"
    name = f"pcmk_{'reboot' if cluster.pacemaker.stonith_action == 'reboot' else 'off'}_timeout"
    allowed = (name, spell(limit))
    twice = 2 if reboots and device.method != "cycle" else 1
    if not device.waits:
        least = twice * wait + delay
        if limit <= least:
            why = "an attempt is ended before the agent has waited for the BMC"
            remedy = f"{name}={least + 20:g}s"
            yield _error("fence-timeout", allowed, ("power_wait", spell(wait)), why, remedy, device.name)
        if twice == 2:
            why = "Pacemaker switches power_timeout off: where a machine goes off but not on, it has failed"
            looks = ("disable_timeout", "true")
            yield _warning("comes-not-on", looks, allowed, why, "disable_timeout=0", device.name)
        return
    least = twice * (wait + device.power_timeout) + delay
    shown = ("power_timeout", spell(device.power_timeout))
    why = "a slow BMC makes an attempt fail although the node is off, and its VMs stay down"
    remedy = f"{name}={1.25 * least:.0f}s, or a shorter power_timeout"
    if limit < least:
        yield _error("fence-timeout", allowed, shown, why, remedy, device.name)
    elif limit < 1.25 * least - 0.5:
        why += f": the agent may wait {spell(least)}, and each of its looks at the power takes time too"
        yield _warning("fence-timeout", allowed, shown, why, remedy, device.name)


def _waiting(cluster: ClusterTimes) -> Iterator[Inconsistency]:
    """Check Pacemaker's waits against the time that Corosync takes (pacemaker-controld(7))."""
    pacemaker, formed = cluster.pacemaker, add(cluster.totem.token, cluster.totem.consensus)
    if formed is None:
        return
    ring = ("token + consensus", spell(formed))
    if pacemaker.dc_deadtime is not None and pacemaker.dc_deadtime <= formed:
        why = "a node that boots can elect itself before it has heard the others, which are fenced then"
        remedy = f"dc-deadtime={max(2 * formed, 10):.0f}s"
        yield _warning("dc-deadtime", ("dc-deadtime", spell(pacemaker.dc_deadtime)), ring, why, remedy)
    if pacemaker.cluster_delay is not None and pacemaker.cluster_delay <= formed:
        why = "actions are called failed that have only not been answered during a change of membership"
        yield _warning(
            "cluster-delay", ("cluster-delay", spell(pacemaker.cluster_delay)), ring, why, "cluster-delay=60s"
        )
    if pacemaker.transition_delay == 0:
        why = "the controller mostly pauses before it has a lost node fenced, for its own changes under way"
        pause = ("Pacemaker's pause", f"{spell(PAUSE_S)}, often twice")
        yield _warning("pause", ("transition-delay", "0 s"), pause, why, "transition-delay=100ms")


def _peer_handlers(cluster: ClusterTimes) -> Iterator[Inconsistency]:
    """Check who answers DRBD when it has lost its peer (drbd.conf(5): fencing, fence-peer)."""
    for one in cluster.peer_handlers:
        pair = ("fencing", one.fencing or "none"), ("fence-peer", one.program or "none")
        remedy = "fencing resource-and-stonith and fence-peer /usr/lib/vm-mgr/drbd-fence-peer (/etc/drbd.d)"
        if one.fencing != "resource-and-stonith" or not one.program:
            why = "writes go on before a lost peer is fenced, and then both sides may be written"
            yield _error("drbd-fencing", *pair, why, remedy, one.resource)
        elif one.understands is False:
            why = (
                "it can't read how this Pacemaker tells of a fenced node, so that no promotion succeeds then"
            )
            yield _error("drbd-handler", *pair, why, remedy, one.resource)


def _ceph(ceph: CephTimes) -> Iterator[Inconsistency]:
    """Check how Ceph misses a storage daemon ("Configuring Monitor/OSD Interaction")."""
    grace, interval = ceph.osd_heartbeat_grace, ceph.osd_heartbeat_interval
    shown, pings = ("osd_heartbeat_grace", spell(grace)), ("osd_heartbeat_interval", spell(interval))
    if grace is not None and interval is not None and grace < 3 * interval:
        why = "few lost or late pings are enough to take a storage daemon for dead that works"
        make = _error if grace < 2 * interval else _warning
        yield make("heartbeat", shown, pings, why, f"osd_heartbeat_interval = {grace / 3:.0f}")
    if None not in (grace, ceph.mon_osd_heartbeat_grace) and grace != ceph.mon_osd_heartbeat_grace:
        why = "the monitors believe a report only after their own grace"
        other = ("osd_heartbeat_grace of the monitors", spell(ceph.mon_osd_heartbeat_grace))
        yield _warning("monitors-grace", shown, other, why, "osd_heartbeat_grace in [global], not in [osd]")
    if ceph.mon_osd_adjust_heartbeat_grace:
        why = "the grace is stretched for storage daemons that were late before, just when they are lost"
        stretch = ("mon_osd_adjust_heartbeat_grace", "true")
        yield _warning("stretched-grace", stretch, shown, why, "mon_osd_adjust_heartbeat_grace = false")
    patience = ceph.mon_client_ping_timeout
    if grace is not None and patience is not None and patience > grace:
        why = "a storage daemon whose monitor was lost, too, hears of it later than it would have missed it"
        lost = ("mon_client_ping_timeout", spell(patience))
        yield _warning("silent-monitor", lost, shown, why, f"mon_client_ping_timeout = {grace / 3:.0f}")
    reporters, hosts = ceph.mon_osd_min_down_reporters, ceph.osd_hosts
    if reporters is not None and hosts is not None and hosts > 1 and reporters > hosts - 2:
        why = "after one more loss too few machines are left to report it: I/O hangs for 15 minutes"
        if reporters > hosts - 1:
            why = "too few machines are left to report a lost one: I/O hangs for 15 minutes"
        make = _error if reporters > hosts - 1 else _warning
        pair = ("mon_osd_min_down_reporters", str(reporters)), ("machines with storage", str(hosts))
        yield make("reporters", *pair, why, "mon_osd_min_down_reporters = 1")


def _clients(cluster: ClusterTimes, ceph: CephTimes) -> Iterator[Inconsistency]:
    """Check Ceph's clients, and for how long a dead one is blocklisted."""
    worst = _back(ceph)
    limit = ceph.rados_osd_op_timeout
    if limit and worst is not None and limit <= worst:
        why = "guests on healthy nodes get I/O errors when any other node is lost"
        missed = ("loss of a storage daemon, at worst", spell(worst))
        yield _error(
            "io-timeout",
            ("rados_osd_op_timeout", spell(limit)),
            missed,
            why,
            "rados_osd_op_timeout = 0 in [client]",
        )
    grace, patience = ceph.osd_heartbeat_grace, ceph.objecter_timeout
    if grace is not None and patience is not None and patience > grace:
        why = "clients wait longer than Ceph takes to miss a storage daemon"
        shown = ("objecter_timeout", spell(patience)), ("osd_heartbeat_grace", spell(grace))
        yield _warning("client-patience", *shown, why, f"objecter_timeout = {grace / 3:.0f} in [client]")
    name, expires = "mon_osd_blocklist_default_expire", ceph.mon_osd_blocklist_default_expire
    budget = add(noticed_worst(cluster), fencing_worst(cluster))
    if expires is not None and budget is not None and expires < 2 * budget:
        why = "a blocklisted client may write again while the end of its node is still being handled"
        fence = ("noticing and fencing, at worst", spell(budget))
        yield _error("blocklist", (name, spell(expires)), fence, why, f"{name} = 3600")
    if ceph.rbd_blocklist_expire_seconds:
        name = "rbd_blocklist_expire_seconds"
        why = "librbd sends it as a string, which monitors refuse: the lock of a dead client is never broken"
        shown = (name, spell(ceph.rbd_blocklist_expire_seconds)), ("what librbd can send", "0")
        yield _error("librbd-blocklist", *shown, why, f"{name} = 0 in [client]")


def _back(ceph: CephTimes) -> float | None:
    """Give how long Ceph takes at worst, without the stretched grace, which has a rule of its own."""
    return ceph_back(replace(ceph, mon_osd_adjust_heartbeat_grace=False))[1]


def _vm(cluster: ClusterTimes, vm: VmTimes) -> Iterator[Inconsistency]:
    """Check a VM's own times, and its stop against fencing and shutdown."""
    stop = ("stop timeout", spell(vm.stop))
    budget = (
        add(noticed_worst(cluster), fencing_worst(cluster)) if cluster.pacemaker.stonith_enabled else None
    )
    if vm.stop is not None and budget is not None and vm.stop > budget:
        why = (
            "a node without quorum is switched off before its guests have shut down, and a stop that hangs is"
            " waited for longer than fencing takes"
        )
        fence = ("noticing and fencing, at worst", spell(budget))
        remedy = f"vm-mgr set {vm.name} --stop-timeout {int(budget)}"
        yield _warning("stop-and-fencing", stop, fence, why, remedy, vm.name)
    leaving = add(vm.migrate_to, vm.migrate_from, vm.stop) if vm.live_migration else vm.stop
    escalation = cluster.pacemaker.shutdown_escalation
    if leaving is not None and escalation and leaving >= escalation:
        why = "Pacemaker gives up a shutdown before the VM may be moved and stopped: it ends with the node"
        whole = ("migrate and stop timeouts" if vm.live_migration else "stop timeout", spell(leaving))
        remedy = f"shutdown-escalation={leaving + 300:.0f}s"
        yield _error("shutdown", whole, ("shutdown-escalation", spell(escalation)), why, remedy, vm.name)
    if vm.stop is not None and vm.stop < 2 * RESERVE_S:
        why = f"the guest has only {spell(vm.stop / 2)} to shut down before it is powered off"
        kept = ("kept for powering off", spell(min(RESERVE_S, vm.stop / 2)))
        yield _warning("short-stop", stop, kept, why, f"vm-mgr set {vm.name} --stop-timeout 30", vm.name)
    yield from _monitor(vm)


def _monitor(vm: VmTimes) -> Iterator[Inconsistency]:
    interval, timeout = vm.monitor_interval, vm.monitor
    looks = ("monitor interval", spell(interval) if interval else "none")
    shown = ("monitor timeout", spell(timeout))
    if not interval:
        why = "nobody notices when the VM's QEMU dies"
        yield _error(
            "no-monitor", looks, shown, why, f"vm-mgr disable {vm.name}; vm-mgr enable {vm.name}", vm.name
        )
        return
    if timeout is not None and timeout < LOADED_MONITOR_S:
        why = "a VM that is well is restarted, because its node is busy or its QEMU is just ending"
        make = _error if timeout <= LEAST_MONITOR_S else _warning
        own = ("the agent's own waits", spell(LEAST_MONITOR_S))
        remedy = (
            "a monitor timeout of 60 s: crm configure edit, or pcs resource update … op monitor timeout=60s"
        )
        yield make("monitor", shown, own, why, remedy, vm.name)
    times, kept = vm.migration_threshold, vm.failure_timeout
    if times and kept and kept <= times * interval:
        why = "failures are forgotten before there are enough: a VM that fails on a bad node stays there"
        pair = (
            ("failure-timeout", spell(kept)),
            (f"migration-threshold times {looks[0]}", f"{times} times {spell(interval)}"),
        )
        remedy = f"failure-timeout={max(10 * times * interval, 600):.0f}s"
        yield _warning("failure-timeout", *pair, why, remedy, vm.name)


def _vm_in_ceph(ceph: CephTimes, cluster: ClusterTimes, vm: VmTimes) -> Iterator[Inconsistency]:
    """Check a VM's start, and its patience with I/O errors, against the time that Ceph takes."""
    back, seen = _back(ceph), add(cluster.totem.token, cluster.totem.consensus)
    if vm.start is None or back is None:
        return
    budget, start = max(vm.start - RESERVE_S, vm.start / 2), ("start timeout", spell(vm.start))
    waits = {"loss of a storage daemon, at worst": back - (seen or 0)}
    if ceph.osd_client_watch_timeout is not None:
        waits["osd_client_watch_timeout"] = ceph.osd_client_watch_timeout
    name, longest = max(waits.items(), key=lambda one: one[1])
    if budget <= longest:
        why = f"a start gives up after {spell(budget)}, before the disks can be had, and this node is out"
        remedy = f"a start timeout of {longest + 2 * RESERVE_S:.0f} s or more"
        yield _error("start", start, (name, spell(longest)), why, remedy, vm.name)
    if vm.io_error_timeout is not None and vm.io_error_timeout < back:
        why = "a VM that an I/O error has paused is killed and restarted before Ceph works again"
        pair = (
            ("io_error_timeout", spell(vm.io_error_timeout)),
            ("loss of a storage daemon, at worst", spell(back)),
        )
        remedy = f"vm-mgr set {vm.name} --pacemaker-params io_error_timeout={max(back * 2, 60):.0f}"
        yield _warning("io-error", *pair, why, remedy, vm.name)

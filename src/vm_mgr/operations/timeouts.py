"""Foresee recovery times from the timeouts of cluster and storage; find those that contradict each other."""

from dataclasses import dataclass, replace

from vm_mgr.errors import Kind, UnknownNameError, VmMgrError
from vm_mgr.model.inconsistencies import Inconsistency, Severity, inconsistencies
from vm_mgr.model.recovery import Recovery, node_lost, qemu_died
from vm_mgr.model.timings import CephTimes, ClusterTimes, VmTimes
from vm_mgr.model.vm import VmName
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["Outlook", "Timeouts", "require_consistent", "timeouts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is expected for one VM."""

    vm: VmTimes
    node_lost: Recovery
    qemu_died: Recovery


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """The whole report; unknown names what could not be read."""

    cluster: ClusterTimes
    ceph: CephTimes | None
    outlooks: tuple[Outlook, ...]
    inconsistencies: tuple[Inconsistency, ...]
    unknown: tuple[str, ...]


def timeouts(env: Env, name: VmName | None = None) -> Timeouts:
    """Read everything, for all VMs of the cluster or for one; raises NOT_FOUND.

    Without a storage that answers the rest is still told, with a warning.
    """
    cluster = replace(env.timings.cluster(), silent_devices=_silent(env))
    vms = [vm for vm in cluster.vms if name in (None, vm.name)]
    if name is not None and not vms:
        message, known = f"the cluster has no VM {name}", (vm.name for vm in cluster.vms)
        hint = f"see: vm-mgr list; a disabled one: vm-mgr enable {name}"
        raise UnknownNameError(message, name, known, hint=hint)
    ceph, unknown = _ceph(env)
    found = inconsistencies(cluster, ceph)
    return Timeouts(
        cluster=cluster,
        ceph=ceph,
        outlooks=tuple(
            Outlook(vm=vm, node_lost=node_lost(cluster, ceph, vm), qemu_died=qemu_died(ceph, vm))
            for vm in sorted(vms, key=lambda vm: vm.name)
        ),
        inconsistencies=tuple(one for one in found if name is None or _concerns(one, cluster, name)),
        unknown=(*_unread(cluster), *unknown),
    )


def require_consistent(found: Timeouts) -> None:
    """Raise WRONG_STATE where an inconsistency is an error."""
    errors = [one for one in found.inconsistencies if one.severity is Severity.ERROR]
    if errors:
        first = errors[0]
        message = f"recovery may fail: {len(errors)} of severity error, the first {first.code}"
        raise VmMgrError(Kind.WRONG_STATE, message, hint=first.remedy)


def _concerns(one: Inconsistency, cluster: ClusterTimes, name: VmName) -> bool:
    """Tell whether it is of this VM, or of what all VMs share."""
    return one.subject == name or one.subject not in {vm.name for vm in cluster.vms}


def _silent(env: Env) -> tuple[str, ...]:
    """Name the fence devices that would not work, where they are to."""
    state = env.cluster.state()
    return state.silent_devices if state.fencing_enabled and not state.stop_all else ()


def _ceph(env: Env) -> tuple[CephTimes | None, list[str]]:
    try:
        ceph = env.timings.ceph()
    except VmMgrError as error:
        env.say(Note(Level.WARNING, "not-seen", f"Ceph's timeouts: {error.message}", error.hint))
        return None, ["ceph"]
    return ceph, [] if ceph is None else list(ceph.exceptions)


def _unread(cluster: ClusterTimes) -> list[str]:
    """Name the settings that stand there but could not be understood."""
    totem = [f"totem {name}" for name in ("token", "consensus") if getattr(cluster.totem, name) is None]
    options = [
        name.replace("_", "-")
        for name in ("stonith_timeout", "stonith_watchdog_timeout", "priority_fencing_delay", "dc_deadtime")
        if getattr(cluster.pacemaker, name) is None
    ]
    devices = [
        f"{name} of {device.name}"
        for device in cluster.devices
        for name in ("pcmk_delay_base", "pcmk_delay_max", "delay", "power_wait", "power_timeout")
        if getattr(device, name) is None
    ]
    vms = [
        f"{name} timeout of {vm.name}"
        for vm in cluster.vms
        for name in ("start", "stop", "monitor")
        if getattr(vm, name) is None
    ]
    return [*totem, *options, *devices, *vms]

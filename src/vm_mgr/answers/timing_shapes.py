"""The data of `timeouts`; times are seconds."""

from typing import Annotated, Any, TypedDict

from vm_mgr.answers.shapes import Words
from vm_mgr.model.inconsistencies import Severity
from vm_mgr.model.timings import CephTimes, FenceDevice, PacemakerTimes, TotemTimes


class VmTimeouts(TypedDict):
    """The timeouts of a VM, in seconds."""

    name: str
    start: float | None
    stop: float | None
    monitor_interval: float | None
    monitor: float | None
    migrate_to: float | None
    migrate_from: float | None
    live_migration: bool
    migration_threshold: int
    failure_timeout: float | None
    io_error_timeout: float | None
    storage: str
    needs: str


class RecoveryPhase(TypedDict):
    """A part of a recovery, in seconds; null where nobody can say."""

    name: str
    typical_s: float | None
    worst_s: float | None
    made_of: str


class Recovery(TypedDict):
    """How long a recovery takes, in seconds; null where nobody can say."""

    typical_s: float | None
    worst_s: float | None
    phases: list[RecoveryPhase]


class VmOutlook(TypedDict):
    """A VM's timeouts, and how long its recoveries take."""

    name: str
    timeouts: VmTimeouts
    node_lost: Recovery
    qemu_died: Recovery


class SettingValue(TypedDict):
    """A setting of Corosync, Pacemaker or Ceph; the value is a text for people."""

    setting: str
    value: str


class Inconsistency(TypedDict):
    """Two settings that contradict each other."""

    severity: Annotated[str, Words(tuple(word.value for word in Severity))]
    code: str
    subject: str
    settings: list[SettingValue]
    why: str
    remedy: str


class Timeouts(TypedDict):
    """How long recoveries take, and which timeouts contradict each other; times are seconds."""

    vms: list[VmOutlook]
    inconsistencies: list[Inconsistency]
    unknown: list[str]
    totem: Annotated[dict[str, Any], TotemTimes]
    pacemaker: Annotated[dict[str, Any], PacemakerTimes]
    fence_devices: list[Annotated[dict[str, Any], FenceDevice]]
    ceph: Annotated[dict[str, Any], CephTimes] | None

"""Turn the results of operations into data: what --output prints, as docs/reference/output.md tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vm_mgr.answers.guest_data import addresses, executed, screenshot
from vm_mgr.answers.list_data import listed, vm_data

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vm_mgr.answers import shapes, timing_shapes
    from vm_mgr.model.event import Event
    from vm_mgr.model.failover import Failover, Phase
    from vm_mgr.model.inconsistencies import Inconsistency
    from vm_mgr.model.recovery import Recovery
    from vm_mgr.model.saved_state import SavedState
    from vm_mgr.model.storage import DiskInfo, Snapshot
    from vm_mgr.model.timings import VmTimes
    from vm_mgr.model.vm import VmStatus
    from vm_mgr.operations.drain import Drained
    from vm_mgr.operations.events import Told
    from vm_mgr.operations.import_appliance import Imported
    from vm_mgr.operations.release_node import Released
    from vm_mgr.operations.show import Shown
    from vm_mgr.operations.timeouts import Timeouts
    from vm_mgr.ports.cluster import Constraint, VmResource

    Given = Mapping[str, Any]

__all__ = ["ANSWERS", "dry_run", "on_move_word", "to_data"]


def to_data(verb: str, given: Given, result: Any) -> Any:
    """Give the data of an operation's result; given are the arguments that it had."""
    return ANSWERS[verb](given, result)


def dry_run(steps: Sequence[str]) -> shapes.DryRun:
    """Say what would be done."""
    return {"dry_run": True, "steps": list(steps)}


def _import(given: Given, made: Imported) -> shapes.Imported:
    return {**vm_data(given, made.vm), "not_taken_over": list(made.left)}


def _remove(given: Given, _: object) -> shapes.Removed:
    return {"name": given["name"], "removed": True}


def _pause(given: Given, vm: VmStatus) -> shapes.Paused:
    return {"name": given["name"], "paused": True, "node": vm.node}


def _resume(given: Given, vm: VmStatus) -> shapes.Paused:
    return {"name": given["name"], "paused": False, "node": vm.node}


def _changed(given: Given, changed: object) -> shapes.Changed:
    return {"name": given["name"], "changed": bool(changed)}


def _disk_size(given: Given, disk: DiskInfo) -> shapes.DiskSize:
    return {"name": given["name"], "image": disk.image, "size_bytes": disk.size_bytes}


def _remove_disk(given: Given, image: str) -> shapes.DiskRemoved:
    return {"name": given["name"], "removed": image}


def _flatten(given: Given, images: Sequence[str]) -> shapes.Flattened:
    return {"name": given["name"], "flattened": list(images)}


def _snapshot(one: Snapshot) -> shapes.Snapshot:
    return {"name": one.name, "taken": _utc(one.taken_utc), "consistency": one.consistency.value}


def _create_snapshot(given: Given, one: Snapshot) -> shapes.SnapshotOfVm:
    return {"vm": given["name"], **_snapshot(one)}


def _list_snapshots(_: Given, snapshots: Sequence[Snapshot]) -> list[shapes.Snapshot]:
    return [_snapshot(one) for one in snapshots]


def _remove_snapshot(given: Given, _: object) -> shapes.SnapshotsRemoved:
    return {"vm": given["name"], "removed": [given["snapshot"]]}


def _purge(given: Given, gone: Sequence[Snapshot]) -> shapes.SnapshotsRemoved:
    return {"vm": given["name"], "removed": [one.name for one in gone]}


def _get_metadata(given: Given, value: str) -> shapes.Note:
    return {"name": given["name"], "key": given["key"], "value": value}


def _note(given: Given, _: object) -> shapes.Note:
    return {"name": given["name"], "key": given["key"], "value": given.get("value", "")}


def _pairs(_: Given, pairs: Mapping[str, str]) -> dict[str, str]:
    return dict(pairs)


def _add_remote(given: Given, _: object) -> shapes.RemoteNode:
    return {"name": given["name"], "remote": given["node"]}


def _remove_remote(given: Given, _: object) -> shapes.RemoteNode:
    return {"name": given["name"], "remote": ""}


def _unmigrate(given: Given, removed: Sequence[Constraint]) -> shapes.ConstraintsRemoved:
    return {"name": given["name"], "removed": [{"id": one.id, "text": one.text} for one in removed]}


def _repair(_: Given, recovered: Sequence[str]) -> shapes.Recovered:
    return {"recovered": list(recovered)}


def _release_node(given: Given, released: Released) -> shapes.Released:
    return {"node": given["node"], "osds": list(released.daemons), "clients": list(released.clients)}


def _show(_: Given, shown: Shown) -> shapes.Shown:
    status, mark, machine = shown.status, shown.unfinished, shown.machine
    return {
        "name": status.name,
        "state": status.state.value,
        "node": status.node,
        "detail": status.words,
        "since": "" if shown.since_utc is None else _utc(shown.since_utc),
        "paused": str(shown.paused),
        "storage": shown.storage,
        "machine": machine
        and {
            "memory_bytes": machine.memory_bytes,
            "vcpus": machine.vcpus,
            "uuid": machine.uuid,
            "macs": list(machine.macs),
            "description": machine.description,
        },
        "disks": None if shown.disks is None else [_disk(one) for one in shown.disks],
        "snapshots": None if shown.snapshots is None else [_snapshot(one) for one in shown.snapshots],
        "placement": shown.placement and _placement(shown.placement),
        "colocations": [
            {"name": one.name, "beside": one.beside, "score": one.score} for one in shown.colocations
        ],
        "constraints": [
            {"id": one.id, "text": one.text, "leftover": one.leftover} for one in shown.constraints
        ],
        "obstacles": [
            {"node": one.node, "reason": one.reason, "never": one.never} for one in shown.placement_problems
        ],
        "readiness": [
            {
                "requirement": one.word,
                "text": one.text,
                "nodes": [{"node": node, "has": has} for node, has in one.nodes.items()],
            }
            for one in shown.readiness
        ],
        "failures": [
            {"text": one.text, "when": one.when, "task": one.task, "node": one.node} for one in shown.failures
        ],
        "unfinished": mark.verb if mark else "",
        "unfinished_on": mark.node if mark else "",
        "unfinished_since": _utc(mark.began_utc) if mark else "",
        "saved": _saved(shown.saved),
        "metadata": None if shown.metadata is None else dict(shown.metadata),
        "set_by_others": dict(shown.set_by_others),
        "unknown": list(shown.unknown),
    }


def _saved(state: SavedState | None) -> shapes.Saved:
    if state is None:
        return {"state": "", "node": "", "since": "", "size_bytes": 0, "resumed_at_start": False}
    return {
        "state": "used" if state.consumed else "complete" if state.complete else "saving",
        "node": state.node,
        "since": _utc(state.saved_utc) if state.saved_utc else "",
        "size_bytes": state.size_bytes,
        "resumed_at_start": state.resumable,
    }


def _disk(disk: DiskInfo) -> shapes.Disk:
    return {
        "image": disk.image,
        "size_bytes": disk.size_bytes,
        "used_bytes": disk.used_bytes,
        "parent": disk.parent,
    }


def _placement(vm: VmResource) -> shapes.Placement:
    return {
        "pinned_host": vm.pinned_host or "",
        "preferred_host": vm.preferred_host or "",
        "failback": "return" if vm.returns else "stay",
        "priority": vm.priority,
        "live_migration": vm.live_migration,
        "on_move": on_move_word(vm),
        "start_timeout_s": vm.start_timeout_s,
        "stop_timeout_s": vm.stop_timeout_s,
        "migrate_to_timeout_s": vm.migrate_to_timeout_s,
        "migrate_from_timeout_s": vm.migrate_from_timeout_s,
        "checks": [{"name": name, "interval_s": seconds} for name, seconds in vm.checks.items()],
        "asks": list(vm.requirements),
        "follow_uplink": vm.follow_uplink,
    }


def on_move_word(vm: VmResource) -> str:
    """Say what a move does with the guest, in the words of the setting on_move."""
    return "hibernate" if vm.hibernation_s else "migrate" if vm.live_migration else "restart"


def _events(_: Given, told: Told) -> shapes.Events:
    return {
        "events": [_event(one) for one in told.events],
        "failovers": [_failover(one) for one in told.failovers],
    }


def _event(event: Event) -> shapes.Event:
    return {
        "time": _utc_ms(event.when_utc),
        "node": event.node,
        "subject": event.subject,
        "event": event.kind.value,
        "detail": event.detail,
        "waited_ms": dict(event.waited),
        "vms": list(event.vms),
        "why": event.why,
    }


def _failover(failover: Failover) -> shapes.Failover:
    return {
        "node": failover.node,
        "began": _utc_ms(failover.began_utc),
        "phases": [_phase(one) for one in failover.phases],
        "vms": [
            {"name": one.vm, "node": one.node, "phases": [_phase(phase) for phase in one.phases]}
            for one in failover.recoveries
        ],
        "unseen": list(failover.unseen),
    }


def _phase(phase: Phase) -> shapes.Phase:
    return {
        "event": phase.kind.value,
        "at_ms": phase.at_ms,
        "took_ms": phase.took_ms,
        "node": phase.node,
        "detail": phase.detail,
        "waited_ms": dict(phase.waited),
    }


def _drain(_: Given, drained: Drained) -> shapes.Drained:
    return {
        "node": drained.node,
        "standby": drained.standby,
        "moved": [
            {"name": one.name, "to": one.to, "how": one.how.value, "took_s": one.took_s}
            for one in drained.moved
        ],
        "stays": [{"name": one.name, "reason": one.reason, "hint": one.hint} for one in drained.stays],
    }


def _timeouts(_: Given, found: Timeouts) -> timing_shapes.Timeouts:
    from dataclasses import asdict  # noqa: PLC0415 - `list` and `status` do without

    ceph = found.ceph
    return {
        "vms": [
            {
                "name": one.vm.name,
                "timeouts": _times(one.vm),
                "node_lost": _recovery(one.node_lost),
                "qemu_died": _recovery(one.qemu_died),
            }
            for one in found.outlooks
        ],
        "inconsistencies": [_inconsistency(one) for one in found.inconsistencies],
        "unknown": list(found.unknown),
        "totem": asdict(found.cluster.totem),
        "pacemaker": asdict(found.cluster.pacemaker),
        "fence_devices": [{**asdict(one), "targets": list(one.targets)} for one in found.cluster.devices],
        "ceph": None if ceph is None else asdict(ceph) | {"exceptions": list(ceph.exceptions)},
    }


def _times(vm: VmTimes) -> timing_shapes.VmTimeouts:
    return {
        "name": vm.name,
        "start": vm.start,
        "stop": vm.stop,
        "monitor_interval": vm.monitor_interval,
        "monitor": vm.monitor,
        "migrate_to": vm.migrate_to,
        "migrate_from": vm.migrate_from,
        "live_migration": vm.live_migration,
        "migration_threshold": vm.migration_threshold,
        "failure_timeout": vm.failure_timeout,
        "io_error_timeout": vm.io_error_timeout,
        "storage": vm.storage,
        "needs": vm.depends_on,
    }


def _recovery(recovery: Recovery) -> timing_shapes.Recovery:
    phases: list[timing_shapes.RecoveryPhase] = [
        {"name": one.name, "typical_s": one.typical_s, "worst_s": one.worst_s, "made_of": one.made_of}
        for one in recovery.phases
    ]
    return {"typical_s": recovery.typical_s, "worst_s": recovery.worst_s, "phases": phases}


def _inconsistency(one: Inconsistency) -> timing_shapes.Inconsistency:
    return {
        "severity": one.severity.value,
        "code": one.code,
        "subject": one.subject,
        "settings": [{"setting": name, "value": value} for name, value in (one.first, one.second)],
        "why": one.why,
        "remedy": one.remedy,
    }


def _utc(seconds: float) -> str:
    from datetime import UTC, datetime  # noqa: PLC0415 - `list` and `status` do without

    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _utc_ms(seconds: float) -> str:
    """Write a time with milliseconds.

    >>> _utc_ms(1.5)
    '1970-01-01T00:00:01.500Z'
    """
    from datetime import UTC, datetime  # noqa: PLC0415

    return f"{datetime.fromtimestamp(round(seconds, 3), UTC).isoformat(timespec='milliseconds')[:-6]}Z"


# Verb of operations/registry.py → how its result becomes data. What it returns is the answer's shape.
ANSWERS: dict[str, Callable[[Given, Any], Any]] = {
    **dict.fromkeys(("add-colocation", "separate", "remove-colocation", "list-colocation"), _pairs),
    **dict.fromkeys(("add-disk", "resize-disk"), _disk_size),
    **dict.fromkeys(("add-to-cluster", "clone", "create", "migrate", "rename", "rollback"), vm_data),
    **dict.fromkeys(("disable", "enable", "restart", "start", "status", "stop"), vm_data),
    **dict.fromkeys(("edit", "set"), _changed),
    "add-pacemaker-remote": _add_remote,
    "address": addresses,
    "create-snapshot": _create_snapshot,
    "drain": _drain,
    "events": _events,
    "exec": executed,
    "flatten": _flatten,
    "get-metadata": _get_metadata,
    "import": _import,
    "list": listed,
    "list-metadata": _pairs,
    "list-snapshots": _list_snapshots,
    "pause": _pause,
    "purge": _purge,
    "release-node": _release_node,
    "remove": _remove,
    "remove-disk": _remove_disk,
    "remove-metadata": _note,
    "remove-pacemaker-remote": _remove_remote,
    "remove-snapshot": _remove_snapshot,
    "repair": _repair,
    "resume": _resume,
    "screenshot": screenshot,
    "set-metadata": _note,
    "show": _show,
    "timeouts": _timeouts,
    "unmigrate": _unmigrate,
}

"""Take, list and remove snapshots, and roll back to one."""

from datetime import datetime

from vm_manager.environment import log, working
from vm_manager.exceptions import ArgumentError
from vm_manager.options import new_name
from vm_mgr.model.storage import Snapshot
from vm_mgr.model.vm import VmName
from vm_mgr.operations import create_snapshot as operations_create_snapshot
from vm_mgr.operations import list_snapshots as operations_list_snapshots
from vm_mgr.operations import remove_snapshot as operations_remove_snapshot
from vm_mgr.operations import rollback

__all__ = ["create_snapshot", "list_snapshots", "purge_image", "remove_snapshot", "rollback_snapshot"]


def create_snapshot(vm_name: str, snapshot_name: str) -> None:
    """Take a snapshot of all of the VM's disks at one instant."""
    new_name(snapshot_name, "snapshot")
    with working() as env:
        operations_create_snapshot.create_snapshot(env, VmName(vm_name), snapshot_name)


def remove_snapshot(vm_name: str, snapshot_name: str) -> None:
    """Remove a snapshot; one that does not exist is fine."""
    with working() as env:
        name = VmName(vm_name)
        if snapshot_name in _names(operations_list_snapshots.list_snapshots(env, name)):
            operations_remove_snapshot.remove_snapshot(env, name, snapshot_name)
        else:
            log.warning("%s has no snapshot %s", name, snapshot_name)


def list_snapshots(vm_name: str) -> list[str]:
    """Name the VM's snapshots, the oldest first."""
    with working() as env:
        return _names(operations_list_snapshots.list_snapshots(env, VmName(vm_name)))


def purge_image(vm_name: str, date: datetime | None = None, number: int | None = None) -> None:
    """Remove the snapshots from before a date (local time unless it has a zone), the oldest ones, or all."""
    if date is not None and number is not None:
        raise ArgumentError("both date and number are given", hint="give one of them")
    if date is not None and not isinstance(date, datetime):
        raise ArgumentError(f"date {date!r} is not datetime", hint="give a datetime.datetime")
    if number is not None and (not isinstance(number, int) or number < 0):
        raise ArgumentError(
            f"number {number!r} is not a non-negative integer", hint="give a number from 0 on"
        )
    before_utc = None if date is None else date.timestamp()
    with working() as env:
        operations_remove_snapshot.purge(env, VmName(vm_name), before_utc=before_utc, number=number)


def rollback_snapshot(vm_name: str, snapshot_name: str) -> None:
    """Take all of the VM's disks back to a snapshot; a VM that runs is stopped for it and started again."""
    with working() as env:
        rollback.rollback(env, VmName(vm_name), snapshot_name)


def _names(snapshots: list[Snapshot]) -> list[str]:
    return [snapshot.name for snapshot in snapshots]

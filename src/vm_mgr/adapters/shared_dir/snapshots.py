"""Meet the snapshots port: an internal snapshot in every disk of the VM, and one entry beside the disks.

The entry is written empty before the first disk is touched, and filled in after the last one has the snapshot
or erased after none has it any more. So what an interruption leaves is never taken for a snapshot, nor for
one that another tool has made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.adapters.shared_dir.nvram import copy_nvram, drop_nvram
from vm_mgr.adapters.shared_dir.saved_memory import SharedSavedMemory
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.intent import HALF
from vm_mgr.model.storage import Consistency, Snapshot

if TYPE_CHECKING:
    from vm_mgr.adapters.shared_dir.folders import VmFolders
    from vm_mgr.adapters.shared_dir.images import Look
    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.open_disks import OpenDisks

__all__ = ["SharedSnapshots"]


class SharedSnapshots:
    """An internal snapshot in every disk of a VM."""

    def __init__(self, folders: VmFolders) -> None:
        self.folders = folders

    def of(self, name: VmName) -> list[Snapshot]:
        """Read the entries, and from the system disk what other tools have made."""
        with self.folders.working(f"can't list the snapshots of {name}"):
            kept = self.folders.record(name).snapshots
            inner = self.folders.qcow2.describe(self.folders.disk_files(name)[0]).snapshots
            others = [Snapshot(one.name, one.taken_utc) for one in inner if one.name not in kept]
            return sorted([*filter(None, kept.values()), *others], key=lambda snapshot: snapshot.taken_utc)

    def take(self, name: VmName, snapshot: str, consistency: Consistency) -> None:
        """Make it on every disk; what an interrupted attempt left shows an earlier instant and goes first."""
        with self.folders.working(f"can't take the snapshot {snapshot} of {name}"):
            record, looks = self.folders.record(name), self._looks(name)
            if record.snapshots.get(snapshot) is not None:
                return
            state = SharedSavedMemory(self.folders).of(name)
            if state is not None and state.resumable:
                # It would change the files, which the memory then no longer fits.
                hint = (
                    f"resume it first: vm-mgr start {name}; or give its memory up: vm-mgr stop --force {name}"
                )
                raise VmMgrError(
                    Kind.WRONG_STATE, f"the memory of {name} is saved, beside its disks", hint=hint
                )
            if snapshot not in record.snapshots and any(look.image.has(snapshot) for look in looks):
                hint = "choose another name"
                raise VmMgrError(
                    Kind.EXISTS, f"another tool has made a snapshot {snapshot} of {name}", hint=hint
                )
            online = self._online(name, looks)
            self.folders.write_record(name, record.with_snapshot(snapshot, None))
            self._clear(name, snapshot, looks, online)
            if online is not None:
                online.take_snapshot(name, [str(look.path) for look in looks], snapshot)
            else:
                for look in looks:
                    self.folders.qcow2.create_snapshot(look, snapshot)
            copy_nvram(self.folders.mount.files, self.folders.folder(name), "", snapshot)
            taken = Snapshot(snapshot, self.folders.clock.utc(), consistency)
            self.folders.write_record(name, record.with_snapshot(snapshot, taken))

    def regrade(self, name: VmName, snapshot: str, consistency: Consistency) -> None:
        """Write its entry anew."""
        with self.folders.working(f"can't describe the snapshot {snapshot} of {name}"):
            record = self.folders.record(name)
            taken = record.snapshots.get(snapshot)
            if taken is not None:
                self.folders.write_record(
                    name, record.with_snapshot(snapshot, taken._replace(consistency=consistency))
                )

    def drop(self, name: VmName, snapshot: str) -> None:
        """Delete it from every disk that has it."""
        with self.folders.working(f"can't remove the snapshot {snapshot} of {name}"):
            record, looks = self.folders.record(name), self._looks(name)
            present = any(look.image.has(snapshot) for look in looks)
            if snapshot not in record.snapshots and not present:
                return
            online = self._online(name, looks) if present else None
            self.folders.write_record(name, record.with_snapshot(snapshot, None))
            self._clear(name, snapshot, looks, online)
            drop_nvram(self.folders.mount.files, self.folders.folder(name), snapshot)
            self.folders.write_record(name, record.without_snapshot(snapshot))

    def roll_back(self, name: VmName, snapshot: str) -> None:
        """Take every disk that has it back to it; done again it changes nothing more."""
        with self.folders.working(f"can't roll {name} back to {snapshot}"):
            record = self.folders.record(name)
            looks = self.folders.qcow2.require_unused(name, self.folders.disk_files(name))
            unfinished = record.snapshots.get(snapshot, "absent") is None
            if unfinished or not any(look.image.has(snapshot) for look in looks):
                hint = f"see them: vm-mgr list_snapshots {name}"
                raise VmMgrError(Kind.NOT_FOUND, f"{name} has no snapshot {snapshot!r}", hint=hint)
            self.folders.write_record(name, record._replace(keys={**record.keys, HALF: snapshot}))
            for look in looks:
                if look.image.has(snapshot):
                    self.folders.qcow2.apply_snapshot(look, snapshot)
            copy_nvram(self.folders.mount.files, self.folders.folder(name), snapshot, "")
            keys = {key: value for key, value in record.keys.items() if key != HALF}
            self.folders.write_record(name, record._replace(keys=keys))

    def _looks(self, name: VmName) -> list[Look]:
        return [self.folders.qcow2.look(path) for path in self.folders.disk_files(name)]

    def _online(self, name: VmName, looks: list[Look]) -> OpenDisks | None:
        """Give whoever may write to the disks: nobody but us, or the QEMU that has them open."""
        used = [look for look in looks if look.in_use]
        if not used:
            return None
        if self.folders.open_disks is None:
            message = (
                f"{used[0].path.name} of {name} is in use, so that only its QEMU may change snapshots in it"
            )
            raise VmMgrError(Kind.NOT_SUPPORTED, message, hint=f"stop it first: vm-mgr stop {name}")
        return self.folders.open_disks

    def _clear(self, name: VmName, snapshot: str, looks: list[Look], online: OpenDisks | None) -> None:
        having = [look for look in looks if look.image.has(snapshot)]
        if online is not None and having:
            online.drop_snapshot(name, [str(look.path) for look in having], snapshot)
        elif online is None:
            for look in having:
                self.folders.qcow2.delete_snapshot(look, snapshot)

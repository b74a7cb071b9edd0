"""Keep a guest's saved memory in the VM's folder: the file memory, and beside it what it is.

memory alone is being written; with saved.json it is complete; with resumed.json it may never be resumed
again. The step from one to the next is one rename.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING

from vm_mgr.adapters.shared_dir import layout
from vm_mgr.adapters.shared_dir.files import is_file, read, write
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.saved_state import SavedState, read_state, write_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vm_mgr.adapters.shared_dir.folders import VmFolders
    from vm_mgr.model.vm import VmName

__all__ = ["SharedSavedMemory"]

CHUNK = 4 << 20


class SharedSavedMemory:
    """A guest's saved memory as a file of the VM's folder."""

    def __init__(self, folders: VmFolders) -> None:
        self.folders = folders

    def prepare(self, name: VmName, size_bytes: int) -> str:
        """Look for room; nothing of an earlier state may stay."""
        with self.folders.working(f"can't begin to save the memory of {name}"):
            self.delete(name)
            folder = self._folder(name)
            room = os.statvfs(folder)
            free_bytes = room.f_bavail * room.f_frsize
            if size_bytes > free_bytes:
                needed, free = size_bytes >> 20, free_bytes >> 20
                where = f"{needed} MiB in {self.folders.mount.root}, of which {free} MiB are free"
                message = f"the memory of {name} needs {where}"
                raise VmMgrError(Kind.NO_RESOURCES, message, hint="make room; see: df -h")
            return str(folder / layout.MEMORY)

    def store(self, name: VmName, state: SavedState, on_progress: Callable[[float], None]) -> SavedState:
        """Have the file and its name on the disk."""
        with self.folders.working(f"can't store the memory of {name}"):
            path = self._folder(name) / layout.MEMORY
            seen = self.disk_fingerprint(name)  # before the copy: a guest that goes on meanwhile changes them
            self.folders.mount.files.sync(path)
            self.folders.mount.files.sync(path.parent)
            size, digest = _read(path, on_progress)
            return state._replace(size_bytes=size, digest=digest, disk_fingerprint=seen)

    def commit(self, name: VmName, state: SavedState) -> None:
        """Write what it is, by a rename."""
        with self.folders.working(f"can't finish the saved memory of {name}"):
            if self.disk_fingerprint(name) != state.disk_fingerprint:
                message = f"the disks of {name} have changed since its memory was saved"
                raise VmMgrError(
                    Kind.WRONG_STATE, message, hint=f"nothing else may use them; see: vm-mgr show {name}"
                )
            write(self.folders.mount.files, self._folder(name) / layout.SAVED, write_state(state) + "\n")

    def of(self, name: VmName) -> SavedState | None:
        """Look for the files; where there are several, the one that forbids more counts."""
        with self.folders.working(f"can't look for the saved memory of {name}"):
            folder = layout.vm_folder(self.folders.mount.root, name)
            for file in (layout.RESUMED, layout.SAVED):
                raw = read(folder / file)
                if raw is not None:
                    return read_state(raw)._replace(complete=True, consumed=file == layout.RESUMED)
            return SavedState() if is_file(folder / layout.MEMORY) else None

    def disk_fingerprint(self, name: VmName) -> str:
        """Take which files they are, how large, and when they were last written."""
        with self.folders.working(f"can't look at the disks of {name}"):
            disks = []
            for path in self.folders.disk_files(name):
                seen = path.lstat()
                disks.append([path.name, seen.st_ino, seen.st_size, seen.st_mtime_ns])
            return json.dumps(disks)

    def consume(self, name: VmName) -> None:
        """Rename; whoever comes second finds nothing."""
        with self.folders.working(f"can't record the use of the saved memory of {name}"):
            folder = self._folder(name)
            saved = folder / layout.SAVED
            if not is_file(folder / layout.RESUMED):
                with suppress(FileNotFoundError):
                    self.folders.mount.files.rename(saved, folder / layout.RESUMED)
                    self.folders.mount.files.sync(folder)
                    return
            message = f"{name} has no saved memory that was not used yet"
            raise VmMgrError(Kind.WRONG_STATE, message, hint=f"look: vm-mgr show {name}")

    def load(self, name: VmName, state: SavedState, on_progress: Callable[[float], None]) -> str:
        """Read the file; a hypervisor can take it from where it is."""
        with self.folders.working(f"can't read the saved memory of {name}"):
            path = self._folder(name) / layout.MEMORY
            if not is_file(path) or _read(path, on_progress) != (state.size_bytes, state.digest):
                message = f"the saved memory of {name} is not what was stored"
                raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=f"look: ls -l {path}")
            return str(path)

    def delete(self, name: VmName) -> None:
        """Remove first what says that it is complete."""
        with self.folders.working(f"can't remove the saved memory of {name}"):
            files, folder = self.folders.mount.files, layout.vm_folder(self.folders.mount.root, name)
            for file in (layout.SAVED, layout.MEMORY, layout.RESUMED):
                if is_file(folder / file):
                    files.unlink(folder / file)
                    files.sync(folder)

    def _folder(self, name: VmName) -> Path:
        return self.folders.disk_files(name)[0].parent


def _read(path: Path, on_progress: Callable[[float], None]) -> tuple[int, str]:
    whole, done, digest = max(path.stat().st_size, 1), 0, blake2b()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            on_progress(min(done / whole, 1.0))
    return done, digest.hexdigest()

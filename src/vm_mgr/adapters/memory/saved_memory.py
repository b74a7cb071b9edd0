"""Guests' saved memory, in memory; only the file that is handed to a hypervisor is a real one."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.saved_state import SavedState

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_mgr.adapters.memory.pool import MemoryPool
    from vm_mgr.model.vm import VmName

__all__ = ["MemorySavedMemory"]


class MemorySavedMemory:
    """Contents of files; room_bytes is what is left for them."""

    def __init__(self, pool: MemoryPool) -> None:
        self.pool = pool
        self.states: dict[VmName, SavedState] = {}
        self.contents: dict[VmName, bytes] = {}
        self.room_bytes = 1 << 40
        self._folder = ""

    def disk_fingerprint(self, name: VmName) -> str:
        """Give content and sizes."""
        vm = self.pool.vm(name)
        return repr([vm.disks, vm.sizes])

    def prepare(self, name: VmName, size_bytes: int) -> str:
        """Forget an earlier one."""
        self.pool.may_fail("saved_memory.prepare")
        self.delete(name)
        if size_bytes > self.room_bytes:
            raise VmMgrError(Kind.NO_RESOURCES, f"no room for the memory of {name}")
        self.states[name] = SavedState()
        return str(self._path(name))

    def store(self, name: VmName, state: SavedState, on_progress: Callable[[float], None]) -> SavedState:
        """Read the file."""
        self.pool.may_fail("saved_memory.store")
        seen = self.disk_fingerprint(name)
        on_progress(0.0)
        content = self._path(name).read_bytes()
        self.contents[name] = content
        self._path(name).unlink()
        return state._replace(
            size_bytes=len(content), digest=blake2b(content).hexdigest(), disk_fingerprint=seen
        )

    def commit(self, name: VmName, state: SavedState) -> None:
        """Make it complete."""
        self.pool.may_fail("saved_memory.commit")
        if self.disk_fingerprint(name) != state.disk_fingerprint:
            raise VmMgrError(Kind.WRONG_STATE, f"the disks of {name} have changed meanwhile")
        self.states[name] = state._replace(complete=True)

    def of(self, name: VmName) -> SavedState | None:
        """Give it."""
        self.pool.may_fail("saved_memory.of")
        return self.states.get(name)

    def consume(self, name: VmName) -> None:
        """Mark it."""
        self.pool.may_fail("saved_memory.consume")
        state = self.states.get(name)
        if state is None or state.consumed or not state.complete:
            raise VmMgrError(Kind.WRONG_STATE, f"{name} has no saved memory that was not taken")
        self.states[name] = state._replace(consumed=True)

    def load(self, name: VmName, state: SavedState, on_progress: Callable[[float], None]) -> str:
        """Write the file."""
        self.pool.may_fail("saved_memory.load")
        on_progress(0.0)
        content = self.contents.get(name, b"")
        if blake2b(content).hexdigest() != state.digest:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"the saved memory of {name} is not what was kept")
        self._path(name).write_bytes(content)
        return str(self._path(name))

    def delete(self, name: VmName) -> None:
        """Forget it."""
        self.pool.may_fail("saved_memory.delete")
        self.states.pop(name, None)
        self.contents.pop(name, None)
        if self._folder:
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: VmName) -> Path:
        if not self._folder:
            self._folder = tempfile.mkdtemp(prefix="vm-mgr-")
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return Path(self._folder) / name

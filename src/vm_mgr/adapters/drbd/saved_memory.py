"""Say that guests' memory is not kept on this storage yet."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from vm_mgr.errors import Kind, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_mgr.adapters.drbd.pool import DrbdPool
    from vm_mgr.model.saved_state import SavedState
    from vm_mgr.model.vm import VmName

__all__ = ["NoSavedMemory"]


class NoSavedMemory:
    """A storage on which no guest hibernates."""

    def __init__(self, pool: DrbdPool) -> None:
        self.pool = pool

    def prepare(self, name: VmName, size_bytes: int) -> str:  # noqa: ARG002 - whatever its size
        """Refuse."""
        message = f"the memory of {name} can't be saved: its disks are on DRBD"
        hint = f"have it moved live or restarted: vm-mgr set {name} --on-move migrate"
        raise VmMgrError(Kind.NOT_SUPPORTED, message, hint=hint)

    def store(self, name: VmName, state: SavedState, on_progress: Callable[[float], None]) -> SavedState:  # noqa: ARG002
        """Refuse."""
        raise self._none(name)

    def commit(self, name: VmName, state: SavedState) -> None:  # noqa: ARG002
        """Refuse."""
        raise self._none(name)

    def of(self, name: VmName) -> SavedState | None:  # noqa: ARG002
        """Know of none."""
        return None

    def disk_fingerprint(self, name: VmName) -> str:
        """Take what the record says."""
        record = self.pool.placed(name)
        return json.dumps([record.port, [list(one) for one in record.volumes]])

    def consume(self, name: VmName) -> None:
        """Refuse."""
        raise self._none(name)

    def load(self, name: VmName, state: SavedState, on_progress: Callable[[float], None]) -> str:  # noqa: ARG002
        """Refuse."""
        raise self._none(name)

    def delete(self, name: VmName) -> None:
        """Do nothing."""

    def _none(self, name: VmName) -> VmMgrError:
        return VmMgrError(Kind.WRONG_STATE, f"{name} has no saved memory", hint=f"look: vm-mgr show {name}")

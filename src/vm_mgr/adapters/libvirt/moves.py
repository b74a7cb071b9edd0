"""Do with a domain what only its moves need, through libvirt's API."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.libvirt import arrival, dirty_rate, memory_save, virsh_migration
from vm_mgr.adapters.libvirt.migration import LiveMove, progress
from vm_mgr.adapters.libvirt.migration_options import understood
from vm_mgr.adapters.libvirt.migration_precheck import problems
from vm_mgr.adapters.libvirt.streams import end_streams
from vm_mgr.adapters.libvirt.virsh import CONNECT_S, SHORT_S
from vm_mgr.errors import VmMgrError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vm_mgr.adapters.libvirt.connection import Connection
    from vm_mgr.model.migration import JobSample
    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.live_migration import Migration, Tell
    from vm_mgr.ports.runner import Runner

__all__ = ["LibvirtMoves"]


class LibvirtMoves:
    """One libvirt, by its kept connection; run is where it keeps the state of its domains."""

    def __init__(self, runner: Runner, connection: Connection, run: Path) -> None:
        self.runner = runner
        self.connection = connection
        self.run = run
        self._measuring: set[VmName] = set()

    def migrate(
        self,
        migration: Migration,
        tell: Tell,
        *,
        is_paused: Callable[[], bool],
        abort: Callable[[], None],
    ) -> bool:
        """Move live; is_paused and abort are for virsh, which alone knows some options."""
        if understood(migration.extra_options) is None:
            return virsh_migration.migrate(self.runner, migration, is_paused=is_paused, abort=abort)

        def cut(pid: int) -> int:
            return end_streams(self.runner, pid)

        return LiveMove(self.connection, migration, tell, run=self.run, end_streams=cut).run()

    def let_go(self, name: VmName, timeout_s: float, ident: str) -> None:
        """Take the mark of its arrival away and resume."""
        arrival.let_go(self.connection, name, timeout_s, ident)

    def progress(self, name: VmName) -> JobSample | None:
        """Ask for the job's statistics; a domain that leaves meanwhile has none."""

        def look(libvirt: Any) -> JobSample | None:
            try:
                return progress(libvirt, self.connection.domain(libvirt, name))
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise
                return None

        return self.connection.call(look, SHORT_S)  # type: ignore[no-any-return]

    def begin_dirty_rate(self, name: VmName) -> None:
        """Have QEMU begin; what keeps it from that is met again by dirty_rate."""
        with suppress(VmMgrError):
            dirty_rate.begin_dirty_rate(self.connection, name)
            self._measuring.add(name)

    def dirty_rate(self, name: VmName) -> float | None:
        """Have QEMU measure it."""
        begun = name in self._measuring
        self._measuring.discard(name)
        return dirty_rate.measured_dirty_rate(self.connection, name, time.sleep, begun=begun)

    def problems(self, xml: str) -> list[VmMgrError]:
        """Ask libvirt for what the definition names."""
        return self.connection.call(lambda libvirt: problems(libvirt, self.connection, xml), CONNECT_S)  # type: ignore[no-any-return]

    def save_memory(self, name: VmName, path: str, timeout_s: float) -> None:
        """Take a snapshot of the memory alone."""
        memory_save.save_memory(self.connection, name, path, timeout_s)

    def restore(self, path: str, timeout_s: float) -> None:
        """Have libvirt start from the file."""
        memory_save.restore(self.connection, path, timeout_s)

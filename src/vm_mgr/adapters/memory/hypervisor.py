"""Running domains and their processes, in memory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vm_mgr.errors import Kind, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.hypervisor import Migration

__all__ = ["MemoryHypervisor"]


class MemoryHypervisor:
    """One node's libvirt and process table; hanging makes every call of libvirt fail."""

    def __init__(self) -> None:
        self.running: dict[VmName, int] = {}
        self.with_agent: set[VmName] = set()
        self.still: set[VmName] = set()
        self.grown: list[tuple[VmName, str, int]] = []
        self.kept: dict[VmName, str] = {}
        self.hanging = False
        self.ignores_shutdown = False
        self.ended: list[tuple[int, bool]] = []
        self.migrated: list[Migration] = []
        self.also_running: dict[int, str] = {}
        self.on_call: Callable[[str], None] = lambda _verb: None

    def create(self, xml: str, name: VmName, *, timeout_s: float) -> None:
        """Start."""
        self._call("create", timeout_s)
        if name in self.running:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"the domain {name} exists")
        if not re.search("<domain", xml):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "not a domain")
        self.running[name] = 1000 + len(self.running)

    def shutdown(self, name: VmName, *, timeout_s: float) -> None:
        """Ask the guest."""
        self._call("shutdown", timeout_s)
        if not self.ignores_shutdown:
            self.running.pop(name, None)

    def destroy(self, name: VmName, *, timeout_s: float) -> None:
        """Unplug."""
        self._call("destroy", timeout_s)
        if self.running.pop(name, None) is None:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"there is no domain {name}")

    def domain_state(self, name: VmName, *, timeout_s: float) -> str:
        """Give libvirt's word."""
        self._call("domain_state", timeout_s)
        if name in self.running:
            return "running"
        return "shut off" if name in self.kept else "absent"

    def migrate(self, migration: Migration) -> None:
        """Move away."""
        self._call("migrate", migration.timeout_s)
        self.migrated.append(migration)
        self.running.pop(migration.name, None)

    def abort_job(self, name: VmName) -> None:
        """Do nothing: no job takes time here."""

    def freeze(self, name: VmName) -> bool:
        """Freeze a guest that has an agent."""
        self._call("freeze", 0)
        if name in self.with_agent:
            self.still.add(name)
        return name in self.with_agent

    def thaw(self, name: VmName) -> None:
        """Let it go on."""
        self._call("thaw", 0)
        self.still.discard(name)

    def pause(self, name: VmName) -> None:
        """Stop it."""
        self._call("pause", 0)
        self.still.add(name)

    def resume(self, name: VmName) -> None:
        """Let it go on."""
        self._call("resume", 0)
        self.still.discard(name)

    def grow(self, name: VmName, source: str, size_bytes: int) -> None:
        """Remember it."""
        self._call("grow", 0)
        self.grown.append((name, source, size_bytes))

    def definition(self, name: VmName) -> str:
        """Give what libvirt keeps."""
        self._call("definition", 0)
        if name not in self.kept:
            raise VmMgrError(Kind.NOT_FOUND, f"there is no domain {name}")
        return self.kept[name]

    def undefine(self, name: VmName) -> None:
        """Forget it."""
        self._call("undefine", 0)
        self.kept.pop(name, None)

    def find_vm(self, name: VmName) -> int | None:
        """Give the PID."""
        return self.running.get(name)

    def mentions(self, text: str) -> list[int]:
        """Search other processes."""
        return [pid for pid, argv in self.also_running.items() if text in argv]

    def end(self, pid: int, *, force: bool) -> None:
        """Kill."""
        self.ended.append((pid, force))
        self.running = {name: other for name, other in self.running.items() if other != pid}

    def _call(self, verb: str, timeout_s: float) -> None:
        self.on_call(verb)
        if self.hanging:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"libvirt did not answer within {timeout_s:.0f} s")

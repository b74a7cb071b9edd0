"""Meet the hypervisor port for another node: what a standing guest waits for goes over one kept connection.

A virsh over ssh takes 0.5 to 1 s to connect, and the guest is paused meanwhile.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.libvirt.commands import remote_uri
from vm_mgr.adapters.libvirt.connection import ASLEEP, PAUSED, STATES, qemu_binding
from vm_mgr.adapters.libvirt.migration_precheck import ALL_CELLS
from vm_mgr.adapters.libvirt.parse import free_memory
from vm_mgr.adapters.libvirt.port import LocalLibvirt
from vm_mgr.adapters.libvirt.virsh import CONNECT_S, FREEZE_S, MONITOR_S, SHORT_S
from vm_mgr.errors import VmMgrError
from vm_mgr.model.capacity import NodeCapacity
from vm_mgr.model.pause import PauseReason

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.runner import Runner

__all__ = ["RemoteLibvirt"]


class RemoteLibvirt(LocalLibvirt):
    """The libvirt of another node."""

    @classmethod
    def at(cls, host: str, runner: Runner, state_dir: Path) -> RemoteLibvirt:
        """Give the one that is reached at this name."""
        return cls(runner, state_dir, uri=remote_uri(host))

    def capacity(self) -> NodeCapacity:
        """Ask for virNodeInfo, whose memory is in MiB in Python's binding, and for what of it is free."""

        def look(libvirt: Any) -> NodeCapacity:
            host = self.connection.host(libvirt)
            info, free_bytes = host.getInfo(), None
            with suppress(libvirt.libvirtError):
                free_bytes = free_memory(host.getMemoryStats(ALL_CELLS))
            return NodeCapacity(int(info[1]) << 20, int(info[2]), free_bytes)

        capacity: NodeCapacity = self._call(look, CONNECT_S)
        return capacity

    def domain_state(self, name: VmName, *, timeout_s: float) -> str:
        """Give libvirt's word for the state, or "absent"."""
        states = self._call(lambda libvirt: self._states(libvirt, name), timeout_s)
        return STATES[states[0]] if states else "absent"

    def paused(self, name: VmName, *, timeout_s: float) -> PauseReason:
        """Say why the guest's processors do not run."""

        def look(libvirt: Any) -> PauseReason:
            from vm_mgr.adapters.libvirt.arrival import is_marked  # noqa: PLC0415

            domain = self._domain(libvirt, name)
            state, number = domain.state()
            if state != PAUSED:
                return PauseReason.RUNS
            reason = PauseReason.of_number(number)
            arriving = reason is PauseReason.USER and is_marked(libvirt, domain)
            return PauseReason.ARRIVING if arriving else reason

        return PauseReason(self._call(look, timeout_s))

    def freeze(self, name: VmName) -> bool:
        """Ask the guest's agent; libvirt says no at once where the domain has none."""
        try:
            self._call(lambda libvirt: self._domain(libvirt, name).fsFreeze(), FREEZE_S)
        except VmMgrError as error:
            if error.__cause__ is None:
                raise  # no answer in time: it may freeze yet, and whoever recovers this lets it thaw
            return False
        return True

    def thaw(self, name: VmName) -> bool:
        """Ask the guest's agent."""
        try:
            self._call(lambda libvirt: self._domain(libvirt, name).fsThaw(), FREEZE_S)
        except VmMgrError:
            return False
        return True

    def _ask_agent(self, name: VmName, command: str) -> str:
        """Give the answer; nothing where there is none within a second."""

        def ask(libvirt: Any) -> str:
            return str(qemu_binding().qemuAgentCommand(self._domain(libvirt, name), command, 1, 0))

        try:
            return str(self._call(ask, SHORT_S))
        except VmMgrError:
            return ""

    def pause(self, name: VmName) -> None:
        """Suspend; libvirt can't pause a guest that sleeps: it is woken."""

        def suspend() -> None:
            self._call(lambda libvirt: self._domain(libvirt, name).suspend(), SHORT_S)

        try:
            suspend()
        except VmMgrError:
            if not self._wake(name):
                raise
            suspend()

    def _is_asleep(self, name: VmName) -> bool:
        return self.domain_state(name, timeout_s=SHORT_S) == ASLEEP

    def _rouse(self, name: VmName) -> None:
        self._call(lambda libvirt: self._domain(libvirt, name).pMWakeup(0), SHORT_S)

    def take_back(self, name: VmName) -> None:
        """Resume, whatever it stands for."""
        try:
            self._call(lambda libvirt: self._domain(libvirt, name).resume(), SHORT_S)
        except VmMgrError:
            if self.domain_state(name, timeout_s=SHORT_S) != "running":
                raise

    def monitor(self, name: VmName, command: str) -> str:
        """Hand a command in JSON to QEMU's monitor and give its answer in JSON."""

        def ask(libvirt: Any) -> str:
            return str(qemu_binding().qemuMonitorCommand(self._domain(libvirt, name), command, 0))

        return str(self._call(ask, MONITOR_S))

    def running_definition(self, name: VmName) -> str:
        """Ask for the live XML, as a migration hands it over."""

        def look(libvirt: Any) -> str:
            return str(self._domain(libvirt, name).XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE))

        return str(self._call(look, SHORT_S))

    def _states(self, libvirt: Any, name: VmName) -> list[int]:
        domain = self.connection.find(libvirt, name)
        return list(domain.state()) if domain is not None else []

    def _domain(self, libvirt: Any, name: VmName) -> Any:
        return self.connection.domain(libvirt, name)

    def _call(self, function: Callable[[Any], Any], timeout_s: float) -> Any:
        return self.connection.call(function, timeout_s)

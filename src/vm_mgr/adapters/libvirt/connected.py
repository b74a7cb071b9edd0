"""Meet the hypervisor port for another node: what a standing guest waits for goes over one kept connection.

A virsh over ssh takes 0.5 to 1 s to connect, and the guest stands meanwhile.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.libvirt.port import FREEZE_S, MONITOR_S, SHORT_S, Virsh
from vm_mgr.errors import Kind, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.runner import Runner

__all__ = ["Connected"]

# virDomainState and virDomainPausedReason (libvirt-domain.h), in virsh's words.
STATES = ("no state", "running", "idle", "paused", "in shutdown", "shut off", "crashed", "pmsuspended")
REASONS = (
    "unknown",
    "user",
    "migrating",
    "saving",
    "dumping",
    "I/O error",
    "watchdog",
    "from snapshot",
    "shutting down",
    "creating snapshot",
    "crashed",
    "starting up",
    "post-copy",
    "post-copy failed",
)
PAUSED = STATES.index("paused")


class Connected(Virsh):
    """The libvirt of another node; the connection is made at the first call.

    libvirt's calls have no time limit of their own, so each is made in a thread that is given up in the end.
    """

    def __init__(self, runner: Runner, state_dir: Path, *, uri: str) -> None:
        super().__init__(runner, state_dir, uri=uri)
        self._connection: Any = None

    def close(self) -> None:
        """Leave; the next call connects again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def domain_state(self, name: VmName, *, timeout_s: float) -> str:
        """Give libvirt's word for the state, or "absent"."""
        states = self._call(lambda libvirt: self._states(libvirt, name), timeout_s)
        return STATES[states[0]] if states else "absent"

    def paused(self, name: VmName, *, timeout_s: float) -> str:
        """Say why the guest's processors stand."""
        state, reason = self._call(lambda libvirt: self._domain(libvirt, name).state(), timeout_s)
        if state != PAUSED:
            return ""
        return REASONS[reason] if reason < len(REASONS) else "unknown"

    def freeze(self, name: VmName) -> bool:
        """Ask the guest's agent; libvirt says no at once where the domain has none."""
        try:
            self._call(lambda libvirt: self._domain(libvirt, name).fsFreeze(), FREEZE_S)
        except VmMgrError as error:
            if error.__cause__ is None:
                raise  # no answer in time: it may freeze yet, and whoever settles this lets it thaw
            return False
        return True

    def thaw(self, name: VmName) -> bool:
        """Ask the guest's agent."""
        try:
            self._call(lambda libvirt: self._domain(libvirt, name).fsThaw(), FREEZE_S)
        except VmMgrError:
            return False
        return True

    def pause(self, name: VmName) -> None:
        """Suspend."""
        self._call(lambda libvirt: self._domain(libvirt, name).suspend(), SHORT_S)

    def resume(self, name: VmName) -> None:
        """Resume; libvirt refuses that for a domain that runs."""
        try:
            self._call(lambda libvirt: self._domain(libvirt, name).resume(), SHORT_S)
        except VmMgrError:
            if self.domain_state(name, timeout_s=SHORT_S) != "running":
                raise

    def monitor(self, name: VmName, command: str) -> str:
        """Hand a command in JSON to QEMU's monitor and give its answer in JSON."""

        def ask(libvirt: Any) -> str:
            import libvirt_qemu  # noqa: PLC0415

            return str(libvirt_qemu.qemuMonitorCommand(self._domain(libvirt, name), command, 0))

        return str(self._call(ask, MONITOR_S))

    def _states(self, libvirt: Any, name: VmName) -> list[int]:
        try:
            return list(self._domain(libvirt, name).state())
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return []

    def _domain(self, libvirt: Any, name: VmName) -> Any:
        if self._connection is None or not self._connection.isAlive():
            libvirt.registerErrorHandler(lambda *_: None, None)  # it would print what is raised, too
            self._connection = libvirt.open(self.uri)
        return self._connection.lookupByName(name)

    def _call(self, function: Callable[[Any], Any], timeout_s: float) -> Any:
        """Call with the binding; a call that hangs leaves its thread and its connection behind."""
        import libvirt  # noqa: PLC0415 - for VMs on other nodes only

        answers: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

        def work() -> None:
            try:
                answers.put((function(libvirt), None))
            except libvirt.libvirtError as error:
                answers.put((None, error))

        threading.Thread(target=work, daemon=True).start()
        try:
            answer, error = answers.get(timeout=timeout_s)
        except queue.Empty:
            self._connection = None
            message, cause = f"no answer of {self.uri} within {timeout_s:.0f} s", None
        else:
            if error is None:
                return answer
            message, cause = str(error), error
        hint = f"try it: virsh --connect '{self.uri}' list"
        raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=hint) from cause

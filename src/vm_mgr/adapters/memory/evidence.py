"""Evidence that tests lay out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.ports.evidence import Control

if TYPE_CHECKING:
    from vm_mgr.adapters.memory.hypervisor import MemoryHypervisor
    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.clock import Clock

__all__ = ["MemoryEvidence"]


class MemoryEvidence:
    """What one node's libvirt says; a QEMU that is silent keeps whoever asks it waiting."""

    def __init__(self, domains: MemoryHypervisor, clock: Clock) -> None:
        self.domains = domains
        self.clock = clock
        self.told: str | None = None
        self.controls: list[Control] = []
        self.qemu = ""
        self.silent = False
        self.agent: bool | None = None
        self.requests = 0
        self.deaf: set[str] = set()
        self.asked: list[str] = []

    def state(self, name: VmName, pid: int) -> str:
        """Give what a test has set, or what the domain does."""
        if self.domains.running.get(name) != pid:
            return ""
        if self.told is not None:
            return self.told
        halted = self.domains.halted.get(name)
        return f"paused ({halted})" if halted else f"running ({self._since(name)})"

    def definition(self, name: VmName, pid: int) -> str:
        """Give what the domain was started with, or a test has put there."""
        return self.domains.xmls.get(name, "") if self.domains.running.get(name) == pid else ""

    def control(self, name: VmName) -> Control:
        """Give the next word, and the last one again and again."""
        self._call("control", name)
        if not self.controls:
            return Control("ok")
        return self.controls.pop(0) if len(self.controls) > 1 else self.controls[0]

    def qemu_status(self, name: VmName) -> str:
        """Give what a test has set, or what the domain does."""
        self._call("qemu_status", name)
        self._wait()
        return self.qemu or ("paused" if name in self.domains.halted else "running")

    def agent_answers(self, name: VmName) -> bool | None:
        """Give what a test has set."""
        self._call("agent_answers", name)
        return self.agent

    def is_deaf(self, name: VmName) -> bool:
        """Give what a test has set."""
        self._call("is_deaf", name)
        return name in self.deaf

    def disk_requests(self, name: VmName) -> int:
        """Give what a test has set."""
        self._call("disk_requests", name)
        self._wait()
        return self.requests

    def _wait(self) -> None:
        if self.silent:
            self.clock.sleep(4)
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "virsh did not end within 4 s")

    def _since(self, name: VmName) -> str:
        return "unpaused" if name in self.domains.resumed else "booted"

    def _call(self, verb: str, name: VmName) -> None:
        self.asked.append(verb)
        if self.domains.hanging:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "libvirt does not answer on this node")
        if name not in self.domains.running:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"there is no domain {name}")

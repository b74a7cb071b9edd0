"""Meet the evidence port with virsh, libvirt's API where its error codes count, and libvirt's state file."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.libvirt import commands
from vm_mgr.adapters.libvirt.connection import Connection, qemu_binding
from vm_mgr.errors import Kind, ProgramError, VmMgrError
from vm_mgr.ports.evidence import Control

if TYPE_CHECKING:
    from pathlib import Path

    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.runner import Completed, Runner

__all__ = ["LibvirtEvidence"]

CALL_S = 4.0
# libvirt waits so long for the agent, and longer for whoever has it just now.
AGENT_S = 5
# tools/virsh-domain-monitor.c has these words for virDomainControlState and virDomainControlErrorReason. An
# "internal (locking) error" is one of libvirt's own and says nothing of QEMU.
WORDS = {"ok": "ok", "occupied": "busy", "background job": "job", "error: monitor failure": "broken"}
# What QEMU's `info registers` and `i /xh 0x602` print. SeaBIOS puts the ACPI registers PM1 at port 0x600.
CR0, PAGING = re.compile(r"\bCR0=([0-9a-f]+)\b"), 1 << 31
PM1_EN, POWER_BUTTON = re.compile(r"\[0x0602\] = 0x([0-9a-f]+)\b"), 1 << 8
NOWHERE = "ffff"
# virsh's words for VIR_DOMAIN_RUNNING_WAKEUP.
WOKEN = "running (event wakeup)"
REQUESTS = re.compile(r"^\s*block\.\d+\.(?:rd|wr|fl)\.reqs=(\d+)$", re.MULTILINE)


class LibvirtEvidence:
    """The libvirt of this node."""

    def __init__(self, runner: Runner, libvirt_run: Path) -> None:
        self.runner = runner
        self.libvirt_run = libvirt_run
        self.connection = Connection(commands.URI)

    def state(self, name: VmName, pid: int) -> str:
        """Read the file's element <domstatus>, which is on one line."""
        found = self._status(name, pid)
        return f"{found[1]} ({found[2]})" if found else ""

    def definition(self, name: VmName, pid: int) -> str:
        """Cut the element <domain> out of it."""
        found = self._status(name, pid)
        text = found.string if found else ""
        begin, end = text.find("<domain "), text.rfind("</domain>")
        return text[begin:end] + "</domain>" if 0 <= begin < end else ""

    def _status(self, name: VmName, pid: int) -> re.Match[str] | None:
        try:
            text = (self.libvirt_run / f"{name}.xml").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        line = r"^<domstatus state='([^']*)' reason='([^']*)' pid='(\d+)'"
        found = re.search(line, text, re.MULTILINE)
        return found if found and found[3] == str(pid) else None

    def control(self, name: VmName) -> Control:
        """Read virsh domcontrol: `occupied (12.345s)`."""
        said = self._ask("domcontrol", name).stdout.strip()
        word, _, rest = said.partition(" (")
        seconds = re.fullmatch(r"([0-9]+\.?[0-9]*)s\)", rest)
        return Control(WORDS.get(word, said), float(seconds[1]) if seconds else 0.0)

    def qemu_status(self, name: VmName) -> str:
        """Send query-status."""
        answer = self._ask("qemu-monitor-command", name, '{"execute": "query-status"}').stdout
        try:
            return str(json.loads(answer)["return"]["status"])
        except (ValueError, KeyError, TypeError) as error:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"QEMU's answer makes no sense: {answer[:80]}") from error

    def agent_answers(self, name: VmName) -> bool | None:
        """Send guest-ping, which an agent answers also while it has frozen the guest's file systems.

        An agent that another command waits for is no silent one: that is an error.
        """

        def ask(libvirt: Any) -> bool | None:
            domain = self.connection.domain(libvirt, name)
            try:
                qemu_binding().qemuAgentCommand(domain, commands.PING, AGENT_S, 0)
            except libvirt.libvirtError as error:
                silent = {
                    libvirt.VIR_ERR_AGENT_UNRESPONSIVE: False,
                    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: None,
                }
                if error.get_error_code() not in silent:
                    raise
                return silent[error.get_error_code()]
            return True

        try:
            return self.connection.call(ask, CALL_S + AGENT_S)  # type: ignore[no-any-return]
        finally:
            self.connection.close()

    def is_deaf(self, name: VmName) -> bool:
        """Ask QEMU whether its first processor works without paging, and whether the power button is off.

        No kernel of an operating system with ACPI works without paging: that is firmware, or a boot loader. A
        button that nobody has switched on QEMU does not press (acpi_pm1_evt_power_down in hw/acpi/core.c). A
        machine without ACPI has none: all ones are read. One of another kind has no such register at all.
        """
        told = self._ask("qemu-monitor-command", "--hmp", name, "info registers").stdout
        cr0 = CR0.search(told)
        if cr0 is None or int(cr0[1], 16) & PAGING:
            return False
        button = PM1_EN.search(self._ask("qemu-monitor-command", "--hmp", name, "i /xh 0x602").stdout)
        if button is None or (button[1] != NOWHERE and int(button[1], 16) & POWER_BUTTON):
            return False
        # One that was woken goes through the firmware, too, and has a system.
        return self._ask("domstate", "--reason", name).stdout.strip() != WOKEN

    def disk_requests(self, name: VmName) -> int:
        """Add up what virsh domstats says of each disk."""
        told = self._ask("domstats", "--block", name).stdout
        numbers = REQUESTS.findall(told)
        if not numbers and "block.count=0" not in told:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"libvirt has no counters of the disks of {name}")
        return sum(map(int, numbers))

    def _ask(self, *arguments: str) -> Completed:
        done = self.runner.run(commands.virsh(*arguments), timeout_s=CALL_S)
        if done.exit_code != 0:
            raise ProgramError(done.argv, done.exit_code, done.stderr)
        return done

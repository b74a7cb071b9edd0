"""Reach into guests with virsh."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.libvirt import commands
from vm_mgr.adapters.libvirt.virsh import SHORT_S, check
from vm_mgr.ports.guest_access import AddressSource, Executed, GuestAddress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.runner import Completed, Runner

__all__ = ["LibvirtGuests", "parse_addresses"]

AGENT_S = "10"  # how long libvirt waits for the agent
BY_SIGNAL = 128


class LibvirtGuests:
    """The guests of one node's libvirt."""

    def __init__(self, runner: Runner, uri: str) -> None:
        self.runner = runner
        self.uri = uri

    def begin(self, name: VmName, argv: Sequence[str]) -> int:
        """Send guest-exec (qga/qapi-schema.json in QEMU's source)."""
        given = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
        return int(self._agent(name, "guest-exec", given)["pid"])

    def ended(self, name: VmName, pid: int) -> Executed | None:
        """Send guest-exec-status; the agent forgets the program once it has told its end."""
        found = self._agent(name, "guest-exec-status", {"pid": pid})
        if not found["exited"]:
            return None
        status = BY_SIGNAL + found["signal"] if "signal" in found else found.get("exitcode", 0)
        output = (base64.b64decode(found.get(key, "")) for key in ("out-data", "err-data"))
        return Executed(int(status), *output)

    def addresses(self, name: VmName, source: AddressSource) -> list[GuestAddress]:
        """Read virsh's table; it fails for an agent that does not answer."""
        done = self._virsh("domifaddr", name, "--source", source.value)
        return list(parse_addresses(done.stdout, source)) if done.exit_code == 0 else []

    def screenshot(self, name: VmName, path: str) -> None:
        """Have virsh write it: from another node, it sends the picture over."""
        check(self._virsh("screenshot", name, path))

    def display(self, name: VmName) -> str:
        """Ask for the first one."""
        done = self._virsh("domdisplay", name)
        return done.stdout.strip() if done.exit_code == 0 else ""

    def _agent(self, name: VmName, verb: str, given: dict[str, Any]) -> dict[str, Any]:
        command = json.dumps({"execute": verb, "arguments": given})
        done = self._virsh("qemu-agent-command", name, command, "--timeout", AGENT_S)
        check(done)
        answer: dict[str, Any] = json.loads(done.stdout)["return"]
        return answer

    def _virsh(self, *arguments: str) -> Completed:
        return self.runner.run(commands.virsh(*arguments, uri=self.uri), timeout_s=SHORT_S)


def parse_addresses(table: str, source: AddressSource) -> Iterator[GuestAddress]:
    """Read rows of name, MAC, protocol and address; dashes repeat the row above. Loopbacks are left out.

    >>> rows = "vnet0 52:54:00:00:00:01 ipv4 192.0.2.7/24\\n- - ipv6 2001:db8::7/64\\nlo - ipv4 127.0.0.1/8"
    >>> [(one.address, one.mac) for one in parse_addresses(rows, AddressSource.AGENT)]
    [('192.0.2.7', '52:54:00:00:00:01'), ('2001:db8::7', '52:54:00:00:00:01')]
    """
    mac = ""
    for row in table.splitlines():
        words = row.split()
        if len(words) != 4:
            continue
        mac = mac if words[1] in ("-", "N/A") else words[1]
        with suppress(ValueError):
            address = ip_address(words[3].partition("/")[0])
            if not (address.is_loopback or address.is_link_local):
                yield GuestAddress(str(address), mac, source)

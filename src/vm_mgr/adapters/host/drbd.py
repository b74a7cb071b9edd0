"""Read DRBD's state on this node: /proc/drbd of the 8.4 module, `drbdsetup status --json` of the 9 module.

A handler must not ask the 8.4 module by netlink: the call that waits for the handler may hold its lock. And
drbdsetup has no --json for it.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vm_mgr.errors import VmMgrError
from vm_mgr.model.peer_fence import Data, Local
from vm_mgr.ports.runner import Runner

__all__ = ["HostDisks", "parse_proc", "parse_status"]

UNREADABLE = Local(promoted=False, data=Data.WORSE, peer_up_to_date=False)
# One device: ` 0: cs:WFConnection ro:Primary/Unknown ds:UpToDate/DUnknown C r-----`.
DEVICE = re.compile(r"^ *(\d+): cs:(\w+) ro:(\w+)/\w+ ds:(\w+)/(\w+)", re.MULTILINE)
UP_TO_DATE = "UpToDate"
LIMIT_S = 5


class HostDisks:
    """DRBD's resources of this machine; configuration is the file that drbdadm has read, or nothing."""

    def __init__(self, runner: Runner, proc: Path, configuration: str = "") -> None:
        self.runner = runner
        self.proc = proc
        self._which = ("--config-file", configuration) if configuration else ()

    def read(self, resource: str, minors: Sequence[str]) -> Local:
        """Read all volumes of a resource."""
        try:
            known = (self.proc / "drbd").read_text()
            if known.startswith("version: 8"):
                return parse_proc(known, minors)
            done = self.runner.run(("drbdsetup", "status", resource, "--json"), timeout_s=LIMIT_S)
        except (OSError, VmMgrError):
            return UNREADABLE
        return parse_status(done.stdout, resource) if done.exit_code == 0 else UNREADABLE

    def minors(self, resource: str) -> tuple[str, ...]:
        """Read the configuration only."""
        argv = ("drbdadm", *self._which, "sh-minor", resource)
        try:
            done = self.runner.run(argv, timeout_s=LIMIT_S)
        except VmMgrError:
            return ()
        return tuple(done.stdout.split()) if done.exit_code == 0 else ()


def parse_proc(raw: str, minors: Sequence[str]) -> Local:
    """Read the devices with these minors.

    >>> text = "version: 8.4.11\\n 0: cs:WFConnection ro:Primary/Unknown ds:UpToDate/DUnknown C r-----\\n"
    >>> parse_proc(text, ["0"])
    Local(promoted=True, data=<Data.UP_TO_DATE: 'UpToDate'>, peer_up_to_date=False)
    >>> parse_proc(text, ["0", "1"]).data
    <Data.WORSE: 'worse'>
    """
    found = [rest for minor, *rest in DEVICE.findall(raw) if minor in minors]
    if not minors or len(found) != len(set(minors)):
        return UNREADABLE
    peers = [(state, disk) for state, _role, _here, disk in found]
    return Local(
        promoted=any(role == "Primary" for _state, role, _here, _disk in found),
        data=_worst([here for _state, _role, here, _disk in found]),
        peer_up_to_date=_are_up_to_date(peers),
    )


def parse_status(raw: str, resource: str) -> Local:
    """Read the answer of `drbdsetup status --json`."""
    try:
        known: list[dict[str, Any]] = json.loads(raw)
        one = next(one for one in known if one["name"] == resource)
        disks = [str(device["disk-state"]) for device in one["devices"]]
        peers = [
            (str(connection["connection-state"]), str(device["peer-disk-state"]))
            for connection in one["connections"]
            for device in connection["peer_devices"]
        ]
    except (ValueError, KeyError, TypeError, StopIteration):
        return UNREADABLE
    if not disks:
        return UNREADABLE
    return Local(
        promoted=one.get("role") == "Primary",
        data=_worst(disks),
        peer_up_to_date=_are_up_to_date(peers),
    )


def _are_up_to_date(peers: Sequence[tuple[str, str]]) -> bool:
    """Judge their connections and disks."""
    return bool(peers) and all(peer == ("Connected", UP_TO_DATE) for peer in peers)


def _worst(disks: Sequence[str]) -> Data:
    if all(disk == UP_TO_DATE for disk in disks):
        return Data.UP_TO_DATE
    return Data.CONSISTENT if all(disk in (UP_TO_DATE, "Consistent") for disk in disks) else Data.WORSE

"""Read /proc/drbd of the kernel's module 8.4, which tells all of a volume in words that have not changed.

drbd-utils has no JSON for that module. https://docs.linbit.com/docs/users-guide-8.4/#s-proc-drbd
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Seen", "module_version", "parse_proc"]

_VOLUME = re.compile(r"^\s*(\d+): cs:(\S+)(.*)$")
_SYNCED = re.compile(r"sync'ed:\s*([\d.]+)%")
_FINISH = re.compile(r"finish:\s*(\d+):(\d+):(\d+)")
_COUNTER = re.compile(r"\b(oos|ap|pe|ua|lo):(\d+)")


class Seen(NamedTuple):
    """A volume as its node sees it, in DRBD's words; disk and peer_disk are UpToDate, Inconsistent and so on.

    under_way: requests that are not done yet. out_of_sync_kib: what the other side lacks. synced_percent is
    below 0 where nothing is synchronised, finish_s where DRBD does not say. paused: I/O stands.
    """

    minor: int
    connection: str = "Unconfigured"
    role: str = "Unknown"
    peer_role: str = "Unknown"
    disk: str = "DUnknown"
    peer_disk: str = "DUnknown"
    paused: bool = False
    under_way: int = 0
    out_of_sync_kib: int = 0
    synced_percent: float = -1.0
    finish_s: int = -1

    @property
    def up(self) -> bool:
        """Tell a volume that this node has configured."""
        return self.connection != "Unconfigured"

    @property
    def whole(self) -> bool:
        """Tell that both sides have the same data, and know it."""
        return self.connection == "Connected" and self.disk == self.peer_disk == "UpToDate"

    @property
    def syncing(self) -> bool:
        """Tell whether one side is catching up."""
        return self.connection in ("SyncSource", "SyncTarget", "PausedSyncS", "PausedSyncT")


def module_version(text: str) -> tuple[int, ...]:
    """Give the module's version; empty where there is none.

    >>> module_version("version: 8.4.11 (api:1/proto:86-101)")
    (8, 4, 11)
    """
    found = re.match(r"version: (\d+)\.(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else ()


def parse_proc(text: str) -> dict[int, Seen]:
    """Read all volumes by minor; lines that are not known are left out.

    >>> parse_proc(" 0: cs:Connected ro:Primary/Secondary ds:UpToDate/Outdated C r-----")[0].role
    'Primary'
    """
    found: dict[int, Seen] = {}
    present: Seen | None = None
    for line in text.splitlines():
        begins = _VOLUME.match(line)
        if begins is not None:
            present = _state(int(begins[1]), begins[2], begins[3].split())
        elif present is not None:
            present = _detail(present, line)
        if present is not None:
            found[present.minor] = present
    return found


def _state(minor: int, connection: str, words: list[str]) -> Seen:
    seen = Seen(minor, connection)
    for word in words:
        key, _, value = word.partition(":")
        mine, _, theirs = value.partition("/")
        if key == "ro":
            seen = seen._replace(role=mine, peer_role=theirs)
        elif key == "ds":
            seen = seen._replace(disk=mine, peer_disk=theirs)
    flags = words[-1] if words and len(words[-1]) == 6 else ""
    return seen._replace(paused=flags.startswith("s"))


def _detail(seen: Seen, line: str) -> Seen:
    counters = {key: int(value) for key, value in _COUNTER.findall(line)}
    if counters:
        under_way = sum(value for key, value in counters.items() if key != "oos")
        seen = seen._replace(under_way=under_way, out_of_sync_kib=counters.get("oos", 0))
    if synced := _SYNCED.search(line):
        seen = seen._replace(synced_percent=float(synced[1]))
    if finish := _FINISH.search(line):
        hours, minutes, seconds = map(int, finish.groups())
        seen = seen._replace(finish_s=hours * 3600 + minutes * 60 + seconds)
    return seen

"""Watch all nodes at all times from the host: VMs' QEMUs and their processors, and what consoles acknowledge.

The nodes are not asked: the host's process table and the files that the nodes write tell.
"""

import contextlib
import os
import re
import threading
import time
from pathlib import Path
from typing import Self

from vm_mgr_lab.campaign.activity import Sighting
from vm_mgr_lab.guest import Record, console_log, read_console
from vm_mgr_lab.lab import Lab

__all__ = ["Watch"]

LOOK_S = 0.05
SCAN_EVERY = 4  # looks
YOUNG_S = 3.0  # a process that was just forked still has its parent's command line
WOKEN_NS = 100_000  # in one look: less is no run
GUEST = re.compile(rb"guest=([^,\0]+),")


class Watch:
    """Looks on from start to stop; use it as a context manager. vms: name → last byte of its MAC."""

    def __init__(self, lab: Lab, vms: dict[str, int], secrets: dict[str, bytes] | None = None) -> None:
        self._lab = lab
        self._vms = vms
        self._lock = threading.Lock()
        self._secrets = secrets or {}
        self.shown_secrets: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)
        self._born: dict[int, float] = {}
        self._qemus: dict[int, Sighting] = {}
        self._ended: list[Sighting] = []
        self._clocks: dict[int, tuple[float, int]] = {}
        self._consoles: dict[Path, tuple[int, int]] = {}  # inode, how far it was read
        self._records: list[tuple[float, str, str, Record]] = []
        for node in lab.nodes:
            for mac_byte in vms.values():
                file = self._console(node.name, mac_byte)
                with contextlib.suppress(FileNotFoundError):
                    seen = file.stat()
                    self._consoles[file] = (seen.st_ino, seen.st_size)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def qemus(self, vm: str) -> list[Sighting]:
        """Return the QEMUs of a VM that exist now."""
        with self._lock:
            return [one for one in self._qemus.values() if one.vm == vm]

    def nodes_of(self, vm: str) -> list[str]:
        """Return the nodes where a QEMU of the VM exists now."""
        return sorted(one.node for one in self.qemus(vm))

    def running(self, vm: str, *, within_s: float = 1.0) -> list[Sighting]:
        """Return the QEMUs of a VM whose processors ran within the last time."""
        since = time.time() - within_s
        return [one for one in self.qemus(vm) if one.last_ran_s >= since]

    def sightings(self, *, since_s: float = 0) -> list[Sighting]:
        """Return all QEMUs that were there at some time since."""
        with self._lock:
            return [one for one in (*self._ended, *self._qemus.values()) if one.last_s >= since_s]

    def records(self, vm: str, *, since_s: float = 0) -> list[tuple[float, str, Record]]:
        """Return when and on which node which records of a VM were acknowledged."""
        with self._lock:
            return [
                (at_s, node, one) for at_s, name, node, one in self._records if name == vm and at_s >= since_s
            ]

    def forget(self, *, before_s: float) -> None:
        """Drop what is over and was judged, so that a long campaign does not fill the memory."""
        with self._lock:
            self._ended = [one for one in self._ended if one.last_s >= before_s]
            self._records = [one for one in self._records if one[0] >= before_s]
            for one in self._qemus.values():
                one.bursts = one.bursts[-1:]

    def find_now(self, node: str, *words: str) -> list[int]:
        """Return the processes of a node that have all these words in their command line, at this moment."""
        wanted = [word.encode() for word in words]
        found = []
        for pid in self._lab.processes(node):
            line = _command_line(pid)
            if all(word in line for word in wanted):
                found.append(pid)
        return found

    def _repeat(self) -> None:
        number = 0
        while not self._stop.wait(LOOK_S):
            if number % SCAN_EVERY == 0:
                self._scan()
                self._read_consoles()
            self._look()
            number += 1

    def _scan(self) -> None:
        """Find new QEMUs, and let go of those that have ended."""
        now = time.time()
        present: set[int] = set()
        for node in self._lab.nodes:
            for pid in self._lab.processes(node.name):
                present.add(pid)
                if now - self._born.setdefault(pid, now) <= YOUNG_S and pid not in self._qemus:
                    self._add_if_qemu(node.name, pid, now)
        with self._lock:
            for pid in set(self._born) - present:
                del self._born[pid]
                self._clocks.pop(pid, None)
                if pid in self._qemus:
                    self._ended.append(self._qemus.pop(pid))

    def _add_if_qemu(self, node: str, pid: int, now: float) -> None:
        line = _command_line(pid)
        self._look_for_secrets(node, line)
        found = GUEST.search(line)
        if found and found[1].decode() in self._vms:
            one = Sighting(vm=found[1].decode(), node=node, pid=pid, first_s=now, last_s=now)
            one.incoming = b"\0-incoming\0" in line
            with self._lock:
                self._qemus[pid] = one

    def _look_for_secrets(self, node: str, line: bytes) -> None:
        program = line.partition(b"\0")[0].decode(errors="replace")
        with self._lock:
            for name, secret in self._secrets.items():
                if secret in line:
                    self.shown_secrets.add(f"{name} stands in the command line of {program} on {node}")

    def _look(self) -> None:
        """See of each QEMU whether its virtual processors have run since the last look."""
        with self._lock:
            for pid, one in self._qemus.items():
                # We may be held up before or after the reading: the time in between is the longest it can be.
                asked_s, used_ns, told_s = time.time(), _processor_ns(pid), time.time()
                if used_ns is None:
                    continue
                one.last_s = told_s
                before_s, before_ns = self._clocks.get(pid, (asked_s, used_ns))
                self._clocks[pid] = (asked_s, used_ns)
                if used_ns - before_ns >= WOKEN_NS:
                    one.used(before_s, told_s, (used_ns - before_ns) / 1e6)

    def _read_consoles(self) -> None:
        for node in self._lab.nodes:
            for vm, mac_byte in self._vms.items():
                file = self._console(node.name, mac_byte)
                with contextlib.suppress(OSError):
                    self._read_console(vm, node.name, file)

    def _read_console(self, vm: str, node: str, file: Path) -> None:
        seen = file.stat()
        inode, offset = self._consoles.get(file, (seen.st_ino, 0))
        if inode != seen.st_ino:  # rotated: its end lies beside it now
            with contextlib.suppress(FileNotFoundError):  # or removed, with the VM that it was of
                self._take(vm, node, file.with_name(file.name + ".0"), offset)
            offset = 0
        if seen.st_size < offset:  # a new one, which has its predecessor's inode
            offset = 0
        if seen.st_size != offset or inode != seen.st_ino:
            offset += self._take(vm, node, file, min(offset, seen.st_size))
            self._consoles[file] = (seen.st_ino, offset)

    def _take(self, vm: str, node: str, file: Path, offset: int) -> int:
        """Read the whole lines after an offset; return how many bytes they are."""
        with file.open("rb") as console:
            console.seek(offset)
            fresh = console.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        now = time.time()
        with self._lock:
            self._records += [(now, vm, node, one) for one in read_console(whole.decode(errors="replace"))]
        return len(whole)

    def _console(self, node: str, mac_byte: int) -> Path:
        return self._lab.disk_of(node) / console_log(mac_byte).lstrip("/")


def _command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _processor_ns(pid: int) -> int | None:
    """Return the time that a QEMU's virtual processors have used, in nanoseconds; None if it has ended."""
    total, found = 0, False
    try:
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - twenty times a second
            folder = f"/proc/{pid}/task/{task}"
            if Path(f"{folder}/comm").read_text().startswith("CPU "):
                total += int(Path(f"{folder}/schedstat").read_text().split()[0])
                found = True
    except (OSError, ValueError):
        return None
    return total if found else None

"""Let a guest go on at the target of its live migration as soon as its source can't go on any more.

libvirt writes into the domain's status file, before it does so, that it ends the source for good (phase
`confirm3`, qemu_migration.c): the target has all, and neither libvirt nor its next process lets the source go
on from there. What remains is the end of QEMU itself, which is over long before libvirt has seen it.
"""

from __future__ import annotations

import os
import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vm_mgr.errors import VmMgrError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Switchover", "has_ended", "process_of"]

POLL_S = 0.003
ENDING_S = 10.0
PROC = Path("/proc")
PF_EXITING = 0x4
_PID = re.compile(r"<domstatus [^>]*\bpid='(\d+)'")
# Not `confirm3_cancelled`: that lets the source go on.
_ENDS = re.compile(r"<job [^>]*\bphase='confirm3'")


class Switchover:
    """Look at the status file of one domain until its source ends, then let it go at the target."""

    def __init__(self, status: Path, let_go: Callable[[], None], *, proc: Path = PROC) -> None:
        self.status = status
        self.let_go = let_go
        self.proc = proc
        self.pid = process_of(status)
        self.has_ended = False
        self.has_gone = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def finish(self, timeout_s: float) -> None:
        """Wait for what is under way, and look no longer."""
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        seen = (0, 0)
        while self.pid and not self._stop.is_set():
            changed = _changed(self.status)
            if changed != seen:
                seen = changed
                if _ENDS.search(_read(self.status)):
                    self._end()
                    return
            self._stop.wait(POLL_S)

    def _end(self) -> None:
        """Wait for QEMU's end, whoever stops waiting for this meanwhile."""
        pause = threading.Event()
        for _ in range(int(ENDING_S / POLL_S)):
            if has_ended(self.pid, self.proc):
                self.has_ended = True
                with suppress(VmMgrError):  # the caller has more time, and says what is wrong
                    self.let_go()
                    self.has_gone = True
                return
            pause.wait(POLL_S)


def process_of(status: Path) -> int:
    """Give the PID of the domain's QEMU, by libvirt's status file; 0 where that is not to be had."""
    found = _PID.search(_read(status))
    return int(found[1]) if found else 0


def has_ended(pid: int, proc: Path = PROC) -> bool:
    """Tell whether no thread of a process runs a program any more: each has ended, or is in its end."""
    try:
        threads = os.listdir(proc / str(pid) / "task")  # noqa: PTH208 - names only
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:
        return False
    return all(_is_ending(proc / str(pid) / "task" / one / "stat") for one in threads)


def _is_ending(stat: Path) -> bool:
    try:
        text = stat.read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:
        return False
    fields = text[text.rfind(")") + 1 :].split()
    if len(fields) < 7:
        return False  # what can't be read proves nothing
    return fields[0] in ("Z", "X") or bool(int(fields[6]) & PF_EXITING)


def _changed(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_ino


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

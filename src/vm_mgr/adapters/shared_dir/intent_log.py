"""Meet the intent log port with a lock file per name, and a file per mark."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from vm_mgr.adapters.shared_dir.files import FILE_MODE, read, write
from vm_mgr.errors import BusyError, raise_all
from vm_mgr.model.claimant import Claimant, find_claimant
from vm_mgr.model.intent import Intent, Key, read_intent, write_intent
from vm_mgr.model.vm import VmName, name_problems

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from vm_mgr.adapters.shared_dir.mount import Mount

__all__ = ["SharedIntentLog"]

SUFFIX = ".json"
# Of a claimant's line.
MOST = 400


class SharedIntentLog:
    """The folders `locks` and `marks` of the directory's .vm-mgr."""

    def __init__(self, mount: Mount, *, doing: Callable[[], str] = lambda: "") -> None:
        """Doing names the command that locks."""
        self.mount = mount
        self.doing = doing

    @contextmanager
    def lock(self, name: VmName | Key) -> Iterator[None]:
        """Hold flock(2) on the name's file, which all nodes respect on OCFS2, GFS2, NFS and CephFS.

        (Unless mounted with localflocks, on NFS with local_lock or nolock.) It ends with this process, at
        once: no program that we start inherits it. With a node it ends when the file system knows that the
        node is gone: after its fencing on OCFS2 and GFS2, after the lease or session time on NFS and CephFS.
        The file stays: removing one that another node is about to lock would let two in.
        """
        stored = str(name)
        raise_all(name_problems(stored))
        with self.mount.working(f"can't lock {stored}"):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            lock = os.open(self.mount.locks / stored, flags, FILE_MODE)
        try:
            with self.mount.working(f"can't lock {stored}"):
                self._lock(lock, stored)
            yield
        finally:
            os.close(lock)

    def intents(self) -> Mapping[VmName, Intent]:
        """Read all intents."""
        with self.mount.working("can't read what is unfinished"):
            found = {path.stem: read(path) for path in self.mount.intents.iterdir() if path.suffix == SUFFIX}
        return {
            VmName(name): read_intent(raw)
            for name, raw in sorted(found.items())
            if raw is not None and not name_problems(name)
        }

    def write(self, name: VmName, intent: Intent) -> None:
        """Replace the name's file."""
        value = write_intent(intent) + "\n"
        with self.mount.working(f"can't write the intent of {name}"):
            write(self.mount.files, self._path(name), value)

    def erase(self, name: VmName) -> None:
        """Remove the name's file."""
        with self.mount.working(f"can't remove the intent of {name}"):
            self.mount.files.unlink(self._path(name))
            self.mount.files.sync(self.mount.intents)

    def _lock(self, lock: int, name: str) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            found = find_claimant(os.pread(lock, MOST, 0).decode(errors="replace"))
            who = found.words(time.time()) if found else ""
            raise BusyError(name, who, hint="try again when it has ended") from error
        us = Claimant(os.uname().nodename, os.getpid(), self.doing(), int(time.time()))
        with suppress(OSError):  # a full file system; the lock is what counts
            written = os.pwrite(lock, f"{us.written(secrets.token_hex(4))}\n".encode(), 0)
            os.ftruncate(lock, written)

    def _path(self, name: VmName) -> Path:
        raise_all(name_problems(name))
        return self.mount.intents / f"{name}{SUFFIX}"

"""List VMs and what is unfinished, if need be in the background."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from vm_mgr.adapters.ceph.connection import PATIENCE_S, failed, load_rados
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.numbers import whole_number
from vm_mgr.model.vm import VmName

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_mgr.adapters.ceph.connection import Connection

__all__ = ["LEDGER", "Listing", "group_ids", "group_names", "is_group", "raw_intents", "read_omap"]

DIRECTORY = "rbd_group_directory"
NAME = "name_"
LEDGER = "vm-mgr.ledger"
# How long one object's silence says that the pool is silent.
AGAIN_S = 1.0


def group_ids(connection: Connection) -> dict[VmName, str]:
    """Give the ids of the pool's groups, by their names.

    Read with rados alone from the object that librbd keeps them in (group_dir_list in Ceph's
    src/cls/rbd/cls_rbd.cc): loading rbd takes 10 ms of `list`.
    """
    found = _once_in_vain(connection, DIRECTORY, NAME)
    return {VmName(key.removeprefix(NAME)): _text(value) for key, value in found.items()}


def group_names(connection: Connection) -> set[VmName]:
    """Name the pool's groups."""
    return set(group_ids(connection))


def is_group(connection: Connection, name: VmName) -> bool:
    """Look for one of the pool's groups, without reading the names of all."""
    return NAME + name in _once_in_vain(connection, DIRECTORY, NAME + name)


def _text(encoded: str) -> str:
    """Take a string as Ceph encodes it: four bytes of length before it."""
    return encoded[4:]


def raw_intents(connection: Connection) -> dict[str, str]:
    """Read the intents, not yet parsed, by the VM's name."""
    return _once_in_vain(connection, LEDGER)


def _once_in_vain(connection: Connection, key: str, prefix: str = "") -> dict[str, str]:
    """Read an object, but who has just waited in vain for another one does not wait again."""
    if connection.silent and time.monotonic() - connection.silent[0] < AGAIN_S:
        error = connection.silent[1]
        raise VmMgrError(error.kind, error.message, hint=error.hint)
    try:
        return read_omap(connection, key, prefix=prefix)
    except VmMgrError as error:
        connection.silent = (time.monotonic(), error)
        raise


def read_omap(connection: Connection, key: str, *, prefix: str = "", after: str = "") -> dict[str, str]:
    """Read an object's omap after a key, page by page: an OSD gives no more than it likes at a time."""
    ioctx = connection.ioctx
    rados = load_rados()
    found: dict[str, str] = {}
    last = after
    try:
        while True:
            with rados.ReadOpCtx() as operation:
                entries, _ = ioctx.get_omap_vals(operation, last, prefix, 1000)
                ioctx.operate_read_op(operation, key)
                page = {str(name): value.decode(errors="replace") for name, value in entries}
            if not page:
                return found
            found |= page
            last = max(page)
    except rados.ObjectNotFound:
        return found  # nothing was ever written there
    except rados.Error as error:
        raise failed(f"can't read {key} in Ceph", error) from error


class Listing:
    """A list that a child process fetches.

    A process and not a thread, because loading Ceph's libraries holds the interpreter's lock: with a thread
    the time would add to that of loading the rest of the program. Create it before there are threads.
    """

    def __init__(self, connect: Callable[[], Connection], *, limit_s: float = PATIENCE_S + 1) -> None:
        """limit_s: how long the answer may take; Ceph's own limits hold for each of several steps."""
        self._limit_s = limit_s
        self._until = time.monotonic() + limit_s
        self._reading, writing = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            self._answer(connect, writing)
        os.close(writing)
        self._got: tuple[set[VmName], dict[str, str]] | VmMgrError | None = None

    def names(self) -> set[VmName]:
        """Wait for the names, or raise what went wrong."""
        return self._result()[0]

    def intents(self) -> dict[str, str]:
        """Wait for the intents."""
        return self._result()[1]

    def _result(self) -> tuple[set[VmName], dict[str, str]]:
        """Give what the child has said, once or again: names and intents are asked for in turn."""
        if self._got is None:
            raw = self._read()
            self._got = self._too_slow() if raw is None else _read_answer(raw.decode(errors="replace"))
        if isinstance(self._got, VmMgrError):
            raise VmMgrError(self._got.kind, self._got.message, hint=self._got.hint)
        return self._got

    def _read(self) -> bytes | None:
        """Read to the end and reap the child; None where it takes too long."""
        import select  # noqa: PLC0415
        import signal  # noqa: PLC0415

        parts: list[bytes] = []
        try:
            while True:
                left_s = max(self._until - time.monotonic(), 0)
                if not select.select([self._reading], [], [], left_s)[0]:
                    return None
                part = os.read(self._reading, 1 << 16)
                if not part:
                    return b"".join(parts)
                parts.append(part)
        finally:
            os.close(self._reading)
            with suppress(ProcessLookupError, ChildProcessError):  # reaped by itself where SIGCHLD is ignored
                os.kill(self._child, signal.SIGKILL)
                os.waitpid(self._child, 0)

    def _too_slow(self) -> VmMgrError:
        message = f"Ceph does not answer within {self._limit_s:.0f} s"
        return VmMgrError(
            Kind.EXTERNAL_FAILURE, message, hint="look at Ceph's health: ceph -s --connect-timeout 5"
        )

    def _answer(self, connect: Callable[[], Connection], writing: int) -> None:
        """Answer in the child and end it there, whatever happens, without the parent's exit handlers."""
        try:
            try:
                connection = connect()
                names, intents = group_names(connection), raw_intents(connection)
                pairs = [text for pair in intents.items() for text in pair]
                answer = [str(len(names)), *names, *pairs]
            except VmMgrError as error:
                answer = ["error", error.kind.value, error.message, error.hint]
            with os.fdopen(writing, "wb") as pipe:
                pipe.write("\0".join(answer).encode(errors="replace"))
        finally:
            os._exit(0)


def _read_answer(text: str) -> tuple[set[VmName], dict[str, str]] | VmMgrError:
    head, *lines = text.split("\0")
    if head == "error" and len(lines) == 3:
        kind, message, hint = lines
        return VmMgrError(Kind(kind), message, hint=hint)
    count = whole_number(head)
    if count is None or count > len(lines) or (len(lines) - count) % 2:
        message, hint = (
            "listing the VMs in Ceph ended without an answer",
            "look: vm-mgr --debug list",
        )
        return VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=hint)
    names, intents = lines[:count], lines[count:]
    return {VmName(name) for name in names}, dict(zip(intents[::2], intents[1::2], strict=True))

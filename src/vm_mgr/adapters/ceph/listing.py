"""List VMs and what is unfinished, if need be in the background."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vm_mgr.adapters.ceph.connection import failed, load_rados
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_mgr.adapters.ceph.connection import Connection

__all__ = ["LEDGER", "Listing", "group_names", "raw_marks", "read_omap"]

DIRECTORY = "rbd_group_directory"
NAME = "name_"
LEDGER = "vm-mgr.ledger"


def group_names(connection: Connection) -> set[VmName]:
    """Name the pool's groups.

    Read with rados alone from the object that librbd keeps them in (group_dir_list in Ceph's
    src/cls/rbd/cls_rbd.cc): loading rbd takes 10 ms of `list`.
    """
    return {VmName(key.removeprefix(NAME)) for key in read_omap(connection, DIRECTORY, prefix=NAME)}


def raw_marks(connection: Connection) -> dict[str, str]:
    """Read the ledger's marks, not yet parsed, by the VM's name."""
    return read_omap(connection, LEDGER)


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

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._reading, writing = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            self._answer(connect, writing)
        os.close(writing)
        self._got: tuple[set[VmName], dict[str, str]] | None = None

    def names(self) -> set[VmName]:
        """Wait for the names, or raise what went wrong."""
        return self._result()[0]

    def marks(self) -> dict[str, str]:
        """Wait for the ledger's marks."""
        return self._result()[1]

    def _result(self) -> tuple[set[VmName], dict[str, str]]:
        if self._got is None:
            with os.fdopen(self._reading, encoding="utf-8") as pipe:
                head, *lines = pipe.read().split("\0")
            os.waitpid(self._child, 0)
            if head == "error":
                kind, message, hint = lines
                raise VmMgrError(Kind(kind), message, hint=hint)
            if not head.isdecimal():
                raise VmMgrError(Kind.INTERNAL, "listing the VMs in Ceph ended without an answer")
            names, marks = lines[: int(head)], lines[int(head) :]
            self._got = {VmName(name) for name in names}, dict(zip(marks[::2], marks[1::2], strict=True))
        return self._got

    def _answer(self, connect: Callable[[], Connection], writing: int) -> None:
        """Answer in the child and end it there, whatever happens, without the parent's exit handlers."""
        try:
            try:
                connection = connect()
                names, marks = group_names(connection), raw_marks(connection)
                pairs = [text for pair in marks.items() for text in pair]
                answer = [str(len(names)), *names, *pairs]
            except VmMgrError as error:
                answer = ["error", error.kind.value, error.message, error.hint]
            with os.fdopen(writing, "w", encoding="utf-8") as pipe:
                pipe.write("\0".join(answer))
        finally:
            os._exit(0)

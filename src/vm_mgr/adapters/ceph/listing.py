"""List VMs, if need be in the background."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.ceph.connection import failed
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_mgr.adapters.ceph.connection import Connection

__all__ = ["Listing", "group_names"]

DIRECTORY = "rbd_group_directory"
NAME = "name_"


def group_names(connection: Connection) -> set[VmName]:
    """Name the pool's groups.

    Read with rados alone from the object that librbd keeps them in (group_dir_list in Ceph's
    src/cls/rbd/cls_rbd.cc): loading rbd takes 10 ms of `list`.
    """
    ioctx = connection.ioctx
    import rados  # noqa: PLC0415 - only in the background of `list`

    names: list[str] = []
    try:
        while page := _page(rados, ioctx, names[-1] if names else ""):
            names += page
    except rados.ObjectNotFound:
        return set()  # no group was ever made in this pool
    except rados.Error as error:
        raise failed("can't list the VMs in Ceph", error) from error
    return {VmName(name) for name in names}


def _page(rados: Any, ioctx: Any, after: str) -> list[str]:
    """Read some names, beginning after one; an OSD gives no more than it likes at a time."""
    with rados.ReadOpCtx() as operation:
        entries, _ = ioctx.get_omap_vals(operation, NAME + after if after else "", NAME, 1000)
        ioctx.operate_read_op(operation, DIRECTORY)
        return [key.removeprefix(NAME) for key, _ in entries]


class Listing:
    """A list that a child process fetches.

    A process and not a thread, because loading Ceph's libraries holds the interpreter's lock: with a thread
    the time would add to that of loading the rest of the program. Create it before there are threads.
    """

    def __init__(self, fetch: Callable[[], set[VmName]]) -> None:
        self._reading, writing = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            self._answer(fetch, writing)
        os.close(writing)

    def result(self) -> set[VmName]:
        """Wait for the list, or raise what went wrong."""
        with os.fdopen(self._reading, encoding="utf-8") as pipe:
            mark, *lines = pipe.read().split("\0")
        os.waitpid(self._child, 0)
        if mark == "error":
            kind, message, hint = lines
            raise VmMgrError(Kind(kind), message, hint=hint)
        if mark != "names":
            raise VmMgrError(Kind.INTERNAL, "listing the VMs in Ceph ended without an answer")
        return {VmName(line) for line in lines if line}

    def _answer(self, fetch: Callable[[], set[VmName]], writing: int) -> None:
        """Answer in the child and end it there, whatever happens, without the parent's exit handlers."""
        try:
            try:
                answer = ["names", *fetch()]
            except VmMgrError as error:
                answer = ["error", error.kind.value, error.message, error.hint]
            with os.fdopen(writing, "w", encoding="utf-8") as pipe:
                pipe.write("\0".join(answer))
        finally:
            os._exit(0)

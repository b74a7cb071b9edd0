"""Do without folders, which may be full just when a VM has to be stopped, and say what is full."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from vm_mgr.errors import Kind, VmMgrError

__all__ = ["in_memory", "is_full", "no_room"]

# The last one is what tempfile raises where none of its folders takes a file.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
NO_FOLDER = "No usable temporary directory"


@contextmanager
def in_memory(text: str, name: str) -> Iterator[str]:
    """Give a path where programs that this one runs can read the text; it needs no folder (memfd_create(2)).

    Raises NO_RESOURCES.

    >>> with in_memory("<a/>", "a.xml") as path, open(path) as file:
    ...     file.read()
    '<a/>'
    """
    number = -1
    try:
        number = os.memfd_create(name)
        with open(number, "wb", closefd=False) as file:
            file.write(text.encode(errors="surrogateescape"))
    except OSError as error:
        if number >= 0:
            os.close(number)
        raise no_room(f"can't keep {name} in memory", error) from error
    try:
        yield f"/proc/{os.getpid()}/fd/{number}"
    finally:
        os.close(number)


def is_full(error: OSError) -> bool:
    """Tell what a lack of space, memory or file descriptors has caused from any other failure."""
    return error.errno in FULL or NO_FOLDER in str(error)


def no_room(doing: str, error: OSError) -> VmMgrError:
    """Say in our words what is full."""
    where = f" ({error.filename})" if error.filename else ""
    hint = "make room on this node; see: df -h / /tmp /run /var; df -i; free -m"
    return VmMgrError(Kind.NO_RESOURCES, f"{doing}: {error.strerror or error}{where}", hint=hint)

"""Listen to the pipe on standard input: python3 -m vm_mgr.alert, started by vm-mgr-alerts.socket.

It ends by itself when nothing has come for a while; systemd starts it again for the next event.
"""

import os
import select
import sys
import threading
import time
from functools import partial
from typing import Protocol

from vm_mgr.alert.service import Service
from vm_mgr.wiring import RealEnv

__all__ = ["listen"]

# Long enough to be ready, with Ceph's libraries loaded, when a node that was lost has been fenced.
IDLE_S = 120.0
POLL_S = 1.0
CEPH_S = 10.0


class Handler(Protocol):
    """Who takes the lines."""

    @property
    def busy(self) -> bool:
        """Tell whether there is work left."""
        ...

    def handle(self, line: str) -> None:
        """Take one."""
        ...


def listen(pipe: int, handler: Handler, *, idle_s: float = IDLE_S, poll_s: float = POLL_S) -> None:
    """Hand each line on, until there was nothing to do for idle_s seconds or nobody can write any more."""
    rest = b""
    last = time.monotonic()
    while handler.busy or time.monotonic() - last < idle_s:
        if handler.busy:
            last = time.monotonic()
        if not select.select([pipe], [], [], poll_s)[0]:
            continue
        piece = os.read(pipe, 65536)
        if not piece:
            return
        last = time.monotonic()
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            handler.handle(line.decode(errors="replace"))


def _end(given: threading.ExceptHookArgs) -> None:
    """End at a defect, as loudly as the main thread would; systemd starts a new one at the next event."""
    sys.excepthook(given.exc_type, given.exc_value or given.exc_type(), given.exc_traceback)
    os._exit(1)


if __name__ == "__main__":
    threading.excepthook = _end
    listen(sys.stdin.fileno(), Service(partial(RealEnv, storage_patience_s=CEPH_S)))

"""Restart Ceph's monitors that do not find each other, as an administrator does.

A monitor whose node was stopped, fenced and booted within a minute can go on probing for ever: the others
are connected to it, and do not answer. Restarting it does not help, restarting one of the others does.
"""

import time
from collections.abc import Callable

from vm_mgr_lab.lab import Lab

__all__ = ["Monitors"]

PATIENCE_S = 45.0


class Monitors:
    """Looks at Ceph's trouble as it goes on."""

    def __init__(self, lab: Lab, say: Callable[[str], None] = lambda _: None) -> None:
        self.lab = lab
        self.say = say
        self.since: float | None = None

    def look(self, trouble: str) -> None:
        """Restart them, one after the other, where one has been out of the quorum for long."""
        now = time.monotonic()
        if "MON_DOWN" not in trouble:
            self.since = None
        elif self.since is None:
            self.since = now
        elif now - self.since > PATIENCE_S:
            self.since = None
            self.say(f"restarting Ceph's monitors: {trouble}")
            for node in self.lab.nodes:
                unit = f"ceph-mon@{node.name}"
                self.lab.execute(node.name, ["systemctl", "try-restart", unit], check=False)
                time.sleep(5)

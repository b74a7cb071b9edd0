"""Meet the port for limits of holds with transient timers of systemd: this node's, or another's over ssh."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from vm_mgr.adapters.host import transient
from vm_mgr.ports.node_runner import NodeVerb

if TYPE_CHECKING:
    from vm_mgr.model.cluster import NodeName
    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.holds import Hold
    from vm_mgr.ports.node_runner import NodeRunner
    from vm_mgr.ports.runner import Runner

__all__ = ["RemoteHolds", "SystemdHolds"]


class SystemdHolds:
    """The systemd of this node; a VM has one unit, for only one command at a time is at it."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def begin(self, name: VmName, hold: Hold, after_s: float) -> None:
        """Start a timer whose service is `python3 -m vm_mgr.ocf.hold release NAME HOW`."""
        self.end(name)
        command = (sys.executable, "-P", "-m", "vm_mgr.ocf.hold", "release", name, hold.value)
        transient.start(self.runner, _unit(name), transient.timer(after_s, "100ms"), command)

    def end(self, name: VmName) -> None:
        """Stop timer and service; systemd then forgets them, and does not know any that have ended."""
        argv = ("systemctl", "stop", f"{_unit(name)}.timer", f"{_unit(name)}.service")
        self.runner.run(argv, timeout_s=transient.TIMEOUT_S)


class RemoteHolds:
    """Another node's, asked by the key that also opens its libvirt."""

    def __init__(self, nodes: NodeRunner, node: NodeName) -> None:
        self.nodes = nodes
        self.node = node

    def begin(self, name: VmName, hold: Hold, after_s: float) -> None:
        """Have it set the timer; raises EXTERNAL_FAILURE where the node does not know how."""
        self.nodes.run(self.node, NodeVerb.BEGIN_HOLD, name, hold.value, f"{after_s:.0f}")

    def end(self, name: VmName) -> None:
        """Have it forget the timer."""
        self.nodes.run(self.node, NodeVerb.END_HOLD, name)


def _unit(name: VmName) -> str:
    return f"vm-mgr-hold-{name}"

"""Build what DRBD's handlers meet of this machine; they need no configuration and no storage."""

import os
from collections.abc import Mapping

from vm_mgr.adapters.host.clock import SystemClock
from vm_mgr.adapters.host.drbd import HostDisks
from vm_mgr.adapters.host.journal import HostJournal
from vm_mgr.adapters.host.runner import HostRunner
from vm_mgr.adapters.pacemaker.peer_fence import PacemakerPeers
from vm_mgr.node_paths import node_paths
from vm_mgr.ports.peer_fence import PeerFenceEnv

__all__ = ["handler_env"]


def handler_env(environ: Mapping[str, str]) -> PeerFenceEnv:
    """Build it; environ is what drbdadm gives to a handler."""
    paths, runner = node_paths(), HostRunner()
    return PeerFenceEnv(
        PacemakerPeers(runner, os.uname().nodename),
        HostDisks(runner, paths.proc, environ.get("DRBD_CONF", "")),
        SystemClock(),
        HostJournal(paths.alerts, paths.journal),
    )

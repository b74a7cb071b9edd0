"""Say where on a node things are; the environment can name other places, as the agent's tests do."""

import os
from pathlib import Path
from typing import NamedTuple

__all__ = ["NodePaths", "node_paths"]


class NodePaths(NamedTuple):
    """Where the node tells what runs on it, and where we keep what lasts until its next boot."""

    proc: Path = Path("/proc")
    libvirt_run: Path = Path("/run/libvirt/qemu")
    state: Path = Path("/run/vm-mgr")
    # A guest's memory passes through on its way to Ceph: not below /run, which is memory itself.
    spool: Path = Path("/var/lib/vm-mgr/memory")
    # Not below it, where only root may look: Pacemaker runs its alert agents as another user.
    alerts: Path = Path("/run/vm-mgr-alerts")
    # What happened, where no storage can keep it for all nodes.
    events: Path = Path("/var/lib/vm-mgr/events")
    journal: Path = Path("/run/systemd/journal/socket")


def node_paths() -> NodePaths:
    """Read them from the environment, as the agent does: a broken configuration must not hinder a stop."""
    given = {key: os.environ.get(f"VM_MGR_{key.upper()}") for key in NodePaths._fields}
    return NodePaths()._replace(**{key: Path(path) for key, path in given.items() if path})

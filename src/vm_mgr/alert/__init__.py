"""Serve Pacemaker's alerts: act on a fencing, and keep what happens to nodes and VMs."""

__all__: list[str] = []

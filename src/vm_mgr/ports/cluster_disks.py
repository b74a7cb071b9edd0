"""Stop and start a VM's disks where they are resources of the cluster."""

from typing import Protocol

__all__ = ["ClusterDisks"]


class ClusterDisks(Protocol):
    """Disks by their ids (model/resource.py); each verb is one transaction, and can be repeated."""

    def stop(self, ident: str) -> bool:
        """Ask for a disk to be stopped on all nodes; tells whether the cluster has it at all."""
        ...

    def start(self, ident: str) -> None:
        """Take that back; absent is fine."""
        ...

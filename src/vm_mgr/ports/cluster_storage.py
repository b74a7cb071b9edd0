"""What only storages can do whose disks are resources of the cluster, or are open at one node at a time."""

from typing import Protocol, runtime_checkable

from vm_mgr.model.cluster import NodeName
from vm_mgr.model.resource import ClusterParts
from vm_mgr.model.vm import VmName

__all__ = ["ClusterStorage", "Handover", "NoHandover"]


@runtime_checkable
class ClusterStorage(Protocol):
    """A storage that has resources of the cluster for each VM."""

    def cluster_parts(self, name: VmName) -> ClusterParts:
        """Say what the cluster is to have for a VM's disks, in the same words each time.

        A dry run also asks for a VM that is not there yet.
        """
        ...


@runtime_checkable
class Handover(Protocol):
    """Disks that are writable at one node, and at two only while a live migration needs that.

    Both verbs raise EXTERNAL_FAILURE, and are called by the agent: each ends within 10 s. Repeating is fine.
    """

    def open_at(self, name: VmName, node: NodeName) -> None:
        """Let a node open the disks too, to which a live migration is about to begin."""
        ...

    def close_elsewhere(self, name: VmName, node: NodeName) -> None:
        """Let only this node have them open, where the guest runs for good."""
        ...


class NoHandover:
    """What storages need that all nodes may open at any time: nothing."""

    def open_at(self, name: VmName, node: NodeName) -> None:
        """Do nothing."""

    def close_elsewhere(self, name: VmName, node: NodeName) -> None:
        """Do nothing."""

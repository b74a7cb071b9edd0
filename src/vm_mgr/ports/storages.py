"""Choose among the storages that stand side by side in one cluster."""

from collections.abc import Sequence
from typing import Protocol

from vm_mgr.model.resource import ClusterParts
from vm_mgr.model.storage import DiskSource, Identified
from vm_mgr.model.vm import VmName
from vm_mgr.ports.cluster_storage import Handover
from vm_mgr.ports.storage import Storage

__all__ = ["Storages"]


class Storages(Protocol):
    """The storages by the labels of the configuration; a VM is in one of them, with all its disks."""

    def labels(self) -> Sequence[str]:
        """Name all, the default one first."""
        ...

    def get(self, label: str) -> Storage:
        """Give one, the default for an empty label; raises NOT_FOUND."""
        ...

    def names(self, label: str) -> set[VmName]:
        """Name the VMs of one storage; for who asks it nothing else, since that may take less than `get`."""
        ...

    def identified(self, label: str, sources: Sequence[DiskSource]) -> Identified:
        """Name the images of one storage among the sources, by whatever way they are named.

        It takes no look at the storage, and less time than `get`: libvirt's hook asks at each start of any
        domain. None where libvirt's own lock manager guards the disks.
        """
        ...

    def label_of(self, name: VmName) -> str:
        """Tell which one has a VM; empty for a VM that is nowhere.

        Raises EXTERNAL_FAILURE if none that answers has it and one does not answer.
        """
        ...

    def cluster_parts(self, label: str, name: VmName) -> ClusterParts:
        """Say what a VM of this storage needs in the cluster, as all its VMs do, or it alone."""
        ...

    def handover(self, label: str) -> Handover:
        """Give what lets two nodes open the disks of this storage for a live migration."""
        ...

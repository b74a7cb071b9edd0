"""What only storages can tell that keep a disk at two nodes."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from vm_mgr.model.replication import Side
from vm_mgr.model.vm import VmName

__all__ = ["Replicated"]


@runtime_checkable
class Replicated(Protocol):
    """A storage whose disks have sides."""

    def sides(self, name: VmName) -> Sequence[Side]:
        """Ask all nodes of a VM's disks; one that does not answer is a side, too. Raises NOT_FOUND."""
        ...

"""Remember at which nodes a VM's disks are open."""

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.vm import VmName

__all__ = ["MemoryHandover"]


class MemoryHandover:
    """What was asked for, in order; refusing is why nothing can be opened any more."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, VmName, NodeName]] = []
        self.refusing = ""

    def open_at(self, name: VmName, node: NodeName) -> None:
        """Open it, unless a test wants a failure."""
        if self.refusing:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, self.refusing)
        self.asked.append(("open", name, node))

    def close_elsewhere(self, name: VmName, node: NodeName) -> None:
        """Close it."""
        self.asked.append(("close elsewhere", name, node))

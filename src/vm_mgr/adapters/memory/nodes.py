"""The nodes of a cluster in memory."""

from vm_mgr.adapters.memory.cluster import MemoryCluster
from vm_mgr.errors import Kind, UnknownNameError, VmMgrError
from vm_mgr.model.cluster import A_PERSON, Fencing, Node, NodeName
from vm_mgr.model.vm import VmName
from vm_mgr.ports.nodes import INFINITY, Assessment

__all__ = ["MemoryNodes"]


class MemoryNodes:
    """Change the nodes of the cluster; one that is fenced stays off."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self.members = cluster

    def standby(self, node: NodeName, *, lasting: bool = False) -> None:  # noqa: ARG002 - no node boots
        """Have it take nothing."""
        self._set(self._node(node)._replace(standby=True))

    def unstandby(self, node: NodeName) -> None:
        """Have it take VMs again."""
        self._set(self._node(node)._replace(standby=False))

    def maintenance(self, node: NodeName, *, on: bool) -> None:
        """Have it left alone, or not."""
        self._set(self._node(node)._replace(maintenance=on))

    def fence(self, node: NodeName) -> None:
        """Switch it off."""
        self._node(node)
        if not self.members.fence_devices:
            raise VmMgrError(
                Kind.EXTERNAL_FAILURE, f"no device can fence {node}", hint="see: stonith_admin -L"
            )
        self._lose(node, Fencing(node, succeeded=True))

    def confirm_off(self, node: NodeName) -> None:
        """Take the word."""
        if not self._node(node).unclean:
            raise VmMgrError(Kind.WRONG_STATE, f"{node} is not lost", hint="see: crm_mon -1")
        self._lose(node, Fencing(node, succeeded=True, action="off", delegate=A_PERSON))

    def cleanup(self, node: NodeName) -> None:
        """Forget the failures."""
        self._node(node)
        for name, failures in self.members.failures.items():
            self.members.failures[name] = [one for one in failures if one.node != node]

    def why(self, resource: str, node: NodeName) -> Assessment:
        """Rate it by what bars the VM there."""
        seen, vm = self._node(node), self.members.resources.get(VmName(resource))
        if vm is None:
            raise VmMgrError(
                Kind.NOT_FOUND, f"the cluster rates no resource {resource}", hint="see: crm_mon -1"
            )
        barred = not seen.can_host or vm.pinned_host not in (None, node)
        return Assessment(self.members.places.get(vm.name) == node, -INFINITY if barred else 0)

    def _node(self, name: NodeName) -> Node:
        if name not in self.members.nodes:
            message = f"the cluster has no node {name}"
            raise UnknownNameError(message, name, self.members.nodes, hint="see: crm_mon -1")
        return self.members.nodes[name]

    def _set(self, node: Node) -> None:
        self.members.nodes[node.name] = node

    def _lose(self, node: NodeName, fencing: Fencing) -> None:
        self._set(self._node(node)._replace(online=False, unclean=False))
        self.members.fencings.append(fencing)
        for name in [name for name, place in self.members.places.items() if place == node]:
            del self.members.places[name]

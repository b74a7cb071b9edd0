"""Act on nodes of the cluster, and ask what the cluster thinks of one."""

from typing import NamedTuple, Protocol

from vm_mgr.model.cluster import NodeName

__all__ = ["INFINITY", "Assessment", "Nodes"]

# Pacemaker's: a node with less than its negative never gets the resource.
INFINITY = 1_000_000


class Assessment(NamedTuple):
    """How the scheduler rates a node for a resource: of several nodes the highest score gets it."""

    runs: bool
    score: int

    @property
    def barred(self) -> bool:
        """Tell whether the resource can't run there as things are."""
        return self.score <= -INFINITY


class Nodes(Protocol):
    """The cluster's nodes, as Pacemaker manages them.

    Without a running cluster everything raises ENVIRONMENT, and for a node that it does not have NOT_FOUND.
    """

    def standby(self, node: NodeName, *, lasting: bool = False) -> None:
        """Have a node take no resource, and leave those it has, until its next boot or until unstandby."""
        ...

    def unstandby(self, node: NodeName) -> None:
        """Have a node take resources again; one that does is fine."""
        ...

    def maintenance(self, node: NodeName, *, on: bool) -> None:
        """Have the cluster leave alone whatever runs on a node, or care for it again."""
        ...

    def fence(self, node: NodeName) -> None:
        """Switch a node off and on again by its fence device; what runs on it is recovered elsewhere.

        Raises EXTERNAL_FAILURE where no device could, within 2 minutes.
        """
        ...

    def confirm_off(self, node: NodeName) -> None:
        """Take a person's word that a lost node has no power, so that its resources are recovered.

        A wrong word starts VMs twice. Raises WRONG_STATE for a node that is not lost.
        """
        ...

    def cleanup(self, node: NodeName) -> None:
        """Forget the failures of all resources on a node; none is fine."""
        ...

    def why(self, resource: str, node: NodeName) -> Assessment:
        """Ask how the scheduler rates a node for a resource; raises NOT_FOUND for an unknown one."""
        ...

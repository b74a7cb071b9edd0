"""Meet the nodes port with Pacemaker's tools."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from vm_mgr.adapters.pacemaker.tools import NO_SUCH_THING, call, check
from vm_mgr.errors import Kind, UnknownNameError, VmMgrError
from vm_mgr.ports.nodes import INFINITY, Assessment

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_mgr.model.cluster import ClusterState, Node, NodeName
    from vm_mgr.ports.runner import Runner

__all__ = ["PacemakerNodes", "read_score"]

FENCING_S = 120
# Of successful live migrations away from a node, where a stop has followed, of all resources (see port.py).
ENDED_MOVES = (
    "//node_state/lrm/lrm_resources/lrm_resource/lrm_rsc_op[@operation='migrate_to'"
    " and @rc-code='0' and ../lrm_rsc_op[@operation='stop']/@call-id > @call-id]"
)
SCORES = ("crm_simulate", "--show-scores", "--xml-pipe", "--output-as=xml")


class PacemakerNodes:
    """The nodes that the cluster's configuration names."""

    def __init__(self, runner: Runner, state: Callable[[], ClusterState]) -> None:
        self.runner = runner
        self.state = state

    def standby(self, node: NodeName, *, lasting: bool = False) -> None:
        """Set the attribute, which is forgotten when the node's Pacemaker ends, or is not."""
        self._require(node)
        self._standby(node, "forever" if lasting else "reboot", "--update", "on")

    def unstandby(self, node: NodeName) -> None:
        """Delete both attributes."""
        self._require(node)
        for lifetime in ("forever", "reboot"):
            self._standby(node, lifetime, "--delete")

    def maintenance(self, node: NodeName, *, on: bool) -> None:
        """Set or delete the attribute."""
        self._require(node)
        change = ("--update", "true") if on else ("--delete",)
        argv = ("crm_attribute", "--node", node, "--name", "maintenance", *change)
        self._delete_or_set(argv)

    def fence(self, node: NodeName) -> None:
        """Have the fencer reboot it, and wait for that."""
        self._require(node)
        argv = ("stonith_admin", "--reboot", node, "--timeout", str(FENCING_S))
        check(call(self.runner, argv, timeout_s=FENCING_S + 10))

    def confirm_off(self, node: NodeName) -> None:
        """Tell the fencer, of a node that is offline and was not fenced."""
        seen = self._require(node)
        if seen.online or not seen.unclean:
            word = "is online" if seen.online else "was fenced, or has left in good order"
            raise VmMgrError(Kind.WRONG_STATE, f"{node} is not lost: it {word}", hint="see: crm_mon -1")
        check(call(self.runner, ("stonith_admin", "--confirm", node)))

    def cleanup(self, node: NodeName) -> None:
        """Clear the failures; ended moves first, or a VM could be taken for one that has not arrived."""
        self._require(node)
        check(call(self.runner, ("cibadmin", "--delete-all", "--force", "--xpath", ENDED_MOVES)))
        check(call(self.runner, ("crm_resource", "--cleanup", "--node", node), timeout_s=60))

    def why(self, resource: str, node: NodeName) -> Assessment:
        """Ask the scheduler for its scores: `crm_resource --why` says no more than whether it runs there."""
        self._require(node)
        cib = check(call(self.runner, ("cibadmin", "--query"))).stdout
        score = read_score(check(call(self.runner, SCORES, stdin=cib)).stdout, resource, node)
        if score is None:
            hint = "see the resources: crm_mon -1"
            raise VmMgrError(Kind.NOT_FOUND, f"the cluster rates no resource {resource}", hint=hint)
        present = self.state().resources.get(resource)
        return Assessment(present is not None and node in present.nodes, score)

    def _standby(self, node: NodeName, lifetime: str, *change: str) -> None:
        self._delete_or_set(("crm_standby", "--node", node, "--lifetime", lifetime, *change))

    def _delete_or_set(self, argv: tuple[str, ...]) -> None:
        done = call(self.runner, argv)
        if done.exit_code != NO_SUCH_THING or "--delete" not in argv:
            check(done)

    def _require(self, name: NodeName) -> Node:
        state = self.state()
        node = state.node(name)
        if node is None:
            known = [one.name for one in state.nodes]
            hint = f"there are: {', '.join(known)}"
            raise UnknownNameError(f"the cluster has no node {name}", name, known, hint=hint)
        return node


def read_score(raw: str, resource: str, node: str) -> int | None:
    """Read the score with which a primitive was assigned; None where the scheduler did not rate it.

    >>> one = '<node_weight function="pcmk__primitive_assign" node="n1" score="-INFINITY" id="web1"/>'
    >>> read_score(f"<r><allocations>{one}</allocations></r>", "web1", "n1")
    -1000000
    """
    try:
        root = ET.fromstring(raw)  # noqa: S314 - the text comes from Pacemaker
    except ET.ParseError as error:
        raise VmMgrError(Kind.EXTERNAL_FAILURE, f"crm_simulate's answer is not XML: {error}") from error
    found = [
        one.get("score", "")
        for one in root.iter("node_weight")
        if (one.get("id"), one.get("node")) == (resource, node)
    ]
    return int(found[-1].replace("INFINITY", str(INFINITY))) if found else None

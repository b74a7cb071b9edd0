"""Meet the cluster port: look with crm_mon, change through the CIB editor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.adapters.pacemaker.tools import NO_SUCH_THING, call, check, no_cluster
from vm_mgr.errors import VmMgrError
from vm_mgr.model.cluster import NodeName

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from vm_mgr.adapters.pacemaker.cib_definitions import CibDefinitions
    from vm_mgr.adapters.pacemaker.cib_intent_log import CibIntentLog, EndedAt
    from vm_mgr.adapters.pacemaker.cib_transaction import CibEditor
    from vm_mgr.model.cluster import ClusterState
    from vm_mgr.model.vm import TargetRole, VmName
    from vm_mgr.ports.clock import Clock
    from vm_mgr.ports.cluster import Cause, Configured, Constraint, Move, Simulation, VmResource
    from vm_mgr.ports.processes import Processes
    from vm_mgr.ports.runner import Pending, Runner


__all__ = ["Pacemaker"]

CRM_MON = ("crm_mon", "-1", "--output-as=xml")
# Of successful live migrations away from a node, where a stop has followed: Pacemaker's last step of each.
ENDED_MOVES = (
    "//node_state/lrm/lrm_resources/lrm_resource[@id='{name}']/lrm_rsc_op[@operation='migrate_to'"
    " and @rc-code='0' and ../lrm_rsc_op[@operation='stop']/@call-id > @call-id]"
)
# The rules of requirements.py.
FITNESS_RULES = "//rsc_location[starts-with(@id, 'vm-mgr-fits-') or starts-with(@id, 'vm-mgr-uplink-')]"
NODE_ACTIONS = "//node_state[@uname='{node}']/lrm//lrm_rsc_op"


class Pacemaker:
    """The cluster that this node belongs to."""

    def __init__(
        self,
        runner: Runner,
        clock: Clock,
        *,
        require: Callable[[], None] = lambda: None,
        utc_at: Callable[[NodeName], float] | None = None,
    ) -> None:
        """require raises where the lock has ended under which a VM's configuration is to be changed.

        utc_at gives the wall clock of any node, in seconds.
        """
        self.runner = runner
        self.clock = clock
        self.require = require
        self.utc_at = utc_at
        self._ahead: dict[NodeName, tuple[float, float]] = {}
        self._look: Pending | None = None
        self._local = ""

    def prefetch(self) -> None:
        """Start looking, so that the caller can load its own code meanwhile."""
        try:
            self._look = self.runner.start(CRM_MON, timeout_s=20)
        except VmMgrError:
            self._look = None  # state() will meet the same and say it

    def state(self) -> ClusterState:
        """Look once, or take the look that prefetch began."""
        # The XML parser takes 10 ms to load: after prefetch, while crm_mon runs.
        from vm_mgr.adapters.pacemaker.crm_mon import parse_crm_mon, parse_ruled  # noqa: PLC0415

        look, self._look = self._look, None
        completed = look.result() if look else call(self.runner, CRM_MON)
        state = parse_crm_mon(check(completed).stdout)
        if not state.nodes:
            raise no_cluster()
        return state._replace(ruled=parse_ruled(self._fitness_rules())) if state.opt_in else state

    def _fitness_rules(self) -> str:
        """Look into the CIB for the rules that crm_mon does not tell of."""
        completed = call(self.runner, ("cibadmin", "--query", "--xpath", FITNESS_RULES))
        return "" if completed.exit_code == NO_SUCH_THING else check(completed).stdout

    def configured(self, name: VmName) -> Configured:
        """Read the CIB."""
        return self._editor().configured(name)

    def local_node(self) -> NodeName:
        """Ask Pacemaker once for this node's name, which need not be the host's."""
        self._local = self._local or check(call(self.runner, ("crm_node", "-n"))).stdout.strip()
        return NodeName(self._local)

    def remembers(self, node: NodeName) -> bool:
        """Look for actions in the status section: the controller empties it of a node that was fenced.

        (send_stonith_update, or update_node_state_after_fencing, in Pacemaker's controld_fencing.c; of a node
        that left in good order they stay, and one that joins is probed.)
        """
        argv = ("cibadmin", "--query", "--xpath", NODE_ACTIONS.format(node=node))
        completed = call(self.runner, argv)
        if completed.exit_code == NO_SUCH_THING:
            return False
        return bool(check(completed).stdout.strip())

    def add(self, resource: VmResource) -> None:
        """Put a VM under the cluster's control."""
        self._claimed_editor().add(resource)

    def reconfigure(self, resource: VmResource, before: VmResource | None = None) -> None:
        """Change resource and placement."""
        self._claimed_editor().reconfigure(resource, before)

    def change_requirements(
        self, name: VmName, requirements: tuple[str, ...], *, follow_uplink: bool
    ) -> None:
        """Replace the rules."""
        self._claimed_editor().change_requirements(name, requirements, follow_uplink=follow_uplink)

    def remove(self, name: VmName, expected: VmResource | None = None) -> None:
        """Take a VM out of the configuration."""
        self._claimed_editor().remove(name, expected)

    def rename(self, name: VmName, new: VmName) -> None:
        """Rename resource and constraints."""
        self._claimed_editor().rename(name, new)

    def set_target_role(self, name: VmName, role: TargetRole) -> None:
        """Ask for a VM to run or not."""
        self._claimed_editor().set_target_role(name, role)

    def begin_move(self, move: Move) -> None:
        """Constrain a VM for the time of a move."""
        self._editor().begin_move(move)

    def simulate_move(self, move: Move) -> Simulation:
        """Ask the scheduler."""
        return self._editor().simulate_move(move)

    def simulate_change(self, resource: VmResource, before: VmResource | None = None) -> Simulation:
        """Ask the scheduler."""
        return self._editor().simulate_change(resource, before)

    def bars(self, names: Collection[VmName]) -> Mapping[VmName, tuple[Cause, ...]]:
        """Ask the scheduler."""
        return self._editor().bars(names)

    def end_move(self, name: VmName) -> None:
        """Remove the constraint of a move."""
        self._editor().end_move(name, lambda: self._nodes_of(name))

    def clear_moves(self, name: VmName) -> tuple[Constraint, ...]:
        """Remove what moves left."""
        return self._editor().clear_moves(name)

    def cleanup(self, name: VmName) -> None:
        """Clear the failure history on all nodes."""
        self._forget_ended_moves(name)
        check(call(self.runner, ("crm_resource", "--cleanup", "--resource", name), timeout_s=60))

    def cleanup_failed(self, name: VmName, node: NodeName, task: str, interval_ms: int = 0) -> None:
        """Clean up the one operation."""
        self._forget_ended_moves(name)
        interval = f"{interval_ms}ms" if interval_ms else "0"
        only = ("--node", node, "--operation", task, "--interval", interval)
        argv = ("crm_resource", "--cleanup", "--resource", name, *only)
        check(call(self.runner, argv, timeout_s=60))

    def reprobe(self, name: VmName) -> None:
        """Have every node probed."""
        self._forget_ended_moves(name)
        check(call(self.runner, ("crm_resource", "--refresh", "--resource", name), timeout_s=60))

    def _forget_ended_moves(self, name: VmName) -> None:
        """Remove the records of moves that have ended long ago, where the VM was stopped after them.

        Clearing removes the VM's history at a node, and with it that it has arrived there. By a record of its
        departure from elsewhere Pacemaker then takes the move for unfinished, and restarts the VM.
        """
        argv = ("cibadmin", "--delete-all", "--force", "--xpath", ENDED_MOVES.format(name=name))
        check(call(self.runner, argv))

    def alarm(self, name: VmName, node: NodeName, *, on: bool) -> None:
        """Set, or delete, a transient attribute of the node."""
        from vm_mgr.adapters.pacemaker.crm_mon import ALARM  # noqa: PLC0415

        change = ("--update", "1") if on else ("--delete",)
        check(call(self.runner, ("attrd_updater", "--name", ALARM + name, *change, "--node", node)))

    def recover_blocked(self, name: VmName, *, lifetime_s: int) -> None:
        """Have it recovered, with the history as it is."""
        self._editor().recover_blocked(name, lifetime_s=lifetime_s)

    def intent_log(self, processes: Processes, ended_at: EndedAt, doing: Callable[[], str]) -> CibIntentLog:
        """Give an intent log in the CIB; see there."""
        from vm_mgr.adapters.pacemaker.cib import Cib  # noqa: PLC0415
        from vm_mgr.adapters.pacemaker.cib_intent_log import CibIntentLog  # noqa: PLC0415

        cib = Cib(self.runner, self.clock)
        return CibIntentLog(cib, self, self.clock, processes, ended_at, doing=doing)

    def definition_store(self) -> CibDefinitions:
        """Give a place for definitions in the CIB."""
        from vm_mgr.adapters.pacemaker.cib import Cib  # noqa: PLC0415
        from vm_mgr.adapters.pacemaker.cib_definitions import CibDefinitions  # noqa: PLC0415

        return CibDefinitions(Cib(self.runner, self.clock))

    def _nodes_of(self, name: VmName) -> tuple[NodeName, ...]:
        resource = self.state().resources.get(name)
        return resource.nodes if resource is not None else ()

    def _claimed_editor(self) -> CibEditor:
        self.require()
        return self._editor()

    def _editor(self) -> CibEditor:
        from vm_mgr.adapters.pacemaker.cib_transaction import CibEditor  # noqa: PLC0415 - lxml would double the cost of `status`

        return CibEditor(self.runner, self.clock, self.utc_at, self._ahead)

"""Ask for cluster state and change the cluster's configuration."""

from collections.abc import Collection, Mapping
from enum import Enum
from typing import NamedTuple, Protocol

from vm_mgr.model.cluster import ClusterState, NodeName
from vm_mgr.model.resource import Dependency, DiskResource, renamed_id
from vm_mgr.model.vm import TargetRole, VmName

__all__ = [
    "PATTERN",
    "Cause",
    "Cluster",
    "ClusterView",
    "Configured",
    "Constraint",
    "Move",
    "Moves",
    "Recovery",
    "ResourceOperation",
    "SideEffect",
    "Simulation",
    "VmResource",
    "VmResources",
]


PATTERN = "pattern"


class VmResource(NamedTuple):
    """A VM as the cluster is to run it; timeouts in seconds.

    depends_on: what must run, or be promoted, on a node before the VM may start there: the mount of its
    storage, a disk. disks: resources that are this VM's alone, and come and go with it.
    checks: deeper check of model/health_checks.py → how often it is made, in seconds.
    returns: whether it goes back to its preferred host when that can take it again.
    asks: what a node must have for the VM to start there, in the words of model/node_requirements.py; with
    follow_uplink it also leaves a node where one of its bridges has lost its uplink.
    hibernation_s: what a stop that is part of a move has on top to save the guest's memory, and a start to
    read it; 0 for a VM that is not saved.
    """

    name: VmName
    target_role: TargetRole
    live_migration: bool = False
    priority: int = 0
    start_timeout_s: int = 120
    stop_timeout_s: int = 30
    migrate_to_timeout_s: int = 120
    migrate_from_timeout_s: int = 60
    monitor_interval_s: int = 10
    monitor_timeout_s: int = 60
    pinned_host: NodeName | None = None
    preferred_host: NodeName | None = None
    params: Mapping[str, str] = {}
    meta: Mapping[str, str] = {}
    utilization: Mapping[str, str] = {}
    colocations: Mapping[str, str] = {}
    depends_on: tuple[Dependency, ...] = ()
    disks: tuple[DiskResource, ...] = ()
    checks: Mapping[str, int] = {}
    check_timeout_s: int = 60
    returns: bool = False
    requirements: tuple[str, ...] = ()
    follow_uplink: bool = True
    hibernation_s: int = 0

    def renamed(self, new: VmName) -> "VmResource":
        """Give it with another name, in the ids of its disks too."""
        name = self.name
        return self._replace(
            name=new,
            disks=tuple(one._replace(id=renamed_id(one.id, name, new)) for one in self.disks),
            depends_on=tuple(one._replace(on=renamed_id(one.on, name, new)) for one in self.depends_on),
        )


class Move(NamedTuple):
    """Where a constraint moves a VM, and for how long it does.

    to: the node; without one it is any but the source and those to avoid. chosen: which of these the cluster
    would take now; it keeps to that one. Pacemaker restarts a VM that is half on its way when another node
    becomes the better one, as by the move of another VM. options: words KEY=VALUE for the agent, with this
    move only. both_promoted: meanwhile its promotable disks may be promoted at two nodes.
    """

    name: VmName
    source: NodeName
    to: NodeName | None = None
    avoid: frozenset[NodeName] = frozenset()
    chosen: NodeName | None = None
    options: str = ""
    lifetime_s: int = 0
    both_promoted: bool = False


class SideEffect(Enum):
    """What the cluster would do to a resource that runs."""

    STOPPED = "stopped"
    RESTARTED = "stopped and started"
    MOVED = "moved live"


class Cause(NamedTuple):
    """A rule or an option without which the cluster would run a VM, or run it where it is to go."""

    text: str
    hint: str = ""


class Simulation(NamedTuple):
    """What a move, or a change of the configuration, would do.

    effects: what it does to resources that run, the VM itself among them. target: where the VM would go live;
    goes_to: the same in whatever way it goes. causes: of each VM that would not run any more, or not go where
    it is to go, the rules that say so. known: whether the scheduler could be asked.
    """

    effects: Mapping[str, SideEffect] = {}
    target: NodeName | None = None
    goes_to: NodeName | None = None
    causes: Mapping[str, tuple[Cause, ...]] = {}
    known: bool = True


class Constraint(NamedTuple):
    """A rule that names a VM; leftover is one that a move, of whatever tool, left behind.

    kind: location, colocation, order, ticket; or tag, group, clone, where it is a part of one; or pattern: a
    location that stays when the VM goes.
    """

    id: str
    text: str
    leftover: bool = False
    kind: str = ""


class ResourceOperation(NamedTuple):
    """A successful operation on a VM that Pacemaker remembers; seconds since 1970."""

    task: str
    node: NodeName
    when_utc: float


class Configured(NamedTuple):
    """All that the cluster's configuration and history say of a VM; vm is None for one that it doesn't have.

    named_by: other resource → score, where that one wants to run beside this VM, or not (below 0).
    others: further constraints that name it, those that moves left among them.
    set_by_others: what else others have set for it, attributes and operations: name → value.
    """

    vm: VmResource | None = None
    named_by: Mapping[str, str] = {}
    others: tuple[Constraint, ...] = ()
    events: tuple[ResourceOperation, ...] = ()
    set_by_others: Mapping[str, str] = {}


class ClusterView(Protocol):
    """What the cluster has, and what it does; nothing here changes anything."""

    def state(self) -> ClusterState:
        """Look once."""
        ...

    def configured(self, name: VmName) -> Configured:
        """Read what is configured for a VM, known to the cluster or not, and what was done to it."""
        ...

    def local_node(self) -> NodeName:
        """Name the node that this runs on."""
        ...

    def bars(self, names: Collection[VmName]) -> Mapping[VmName, tuple[Cause, ...]]:
        """Ask the scheduler which of these, that are to run, it is not about to start, and why not."""
        ...

    def remembers(self, node: NodeName) -> bool:
        """Tell whether it knows of anything that a node did.

        All of it is forgotten once a node is fenced. A node that joins is looked at, and so known, again.
        """
        ...


class VmResources(Protocol):
    """VMs in the cluster's configuration."""

    def add(self, resource: VmResource) -> None:
        """Put a VM and its disks under the cluster's control, replacing what it had for this name.

        A disk that it has already stays as it is.
        """
        ...

    def reconfigure(self, resource: VmResource, before: VmResource | None = None) -> None:
        """Change how a VM that the cluster has is to be run, without disturbing it; absent is fine.

        before: how it was to be run; what is the same in both stays as it is, whoever has set it. Without it
        all is written that is ours. What others have set stays. So do its target role, the agent's parameters
        and the disks that it has: Pacemaker would restart the VM for them.
        """
        ...

    def simulate_change(self, resource: VmResource, before: VmResource | None = None) -> Simulation:
        """Tell what reconfigure would do, whom it would stop, restart or move at once.

        Of VMs that do not run it also tells which could not be started any more.
        """
        ...

    def change_requirements(
        self, name: VmName, requirements: tuple[str, ...], *, follow_uplink: bool
    ) -> None:
        """Replace by what a VM avoids nodes (see VmResource), and nothing else; absent is fine.

        A VM that runs by the agent of another tool keeps all that it has.
        """
        ...

    def remove(self, name: VmName, expected: VmResource | None = None) -> None:
        """Take a VM, its disks and every constraint that names them out; absent is fine.

        expected: how it is to be run. What others have set beyond that, their constraints and tags are kept
        then for the next `add`; else they are forgotten. Raises WRONG_STATE for a VM in a group or clone.
        """
        ...

    def rename(self, name: VmName, new: VmName) -> None:
        """Give a VM that doesn't run, and its disks, another name, in constraints too; absent is fine."""
        ...

    def set_target_role(self, name: VmName, role: TargetRole) -> None:
        """Ask for a VM to run or not to run."""
        ...


class Moves(Protocol):
    """Constraints by which a VM is moved."""

    def begin_move(self, move: Move) -> None:
        """Constrain a VM to a node, or away from its present one, until end_move or the lifetime is over."""
        ...

    def simulate_move(self, move: Move) -> Simulation:
        """Tell where the VM would go, and what would be stopped, restarted or moved, the VM itself among it.

        The lifetime does not matter.
        """
        ...

    def end_move(self, name: VmName) -> None:
        """Remove the constraint of begin_move; absent is fine.

        Where disks could be promoted at two nodes the VM is kept where it runs until one of them is demoted,
        or for a minute. One that is between two nodes keeps it all until its lifetime is over.
        """
        ...

    def clear_moves(self, name: VmName) -> tuple[Constraint, ...]:
        """Remove every constraint that a move left at a VM, ours and those of other tools; give them."""
        ...


class Recovery(Protocol):
    """What the cluster remembers of failures, and does about them."""

    def cleanup(self, name: VmName) -> None:
        """Clear the failure history, so that every node is eligible again."""
        ...

    def cleanup_failed(self, name: VmName, node: NodeName, task: str, interval_ms: int = 0) -> None:
        """Clear what one operation's failure has left: of a migrate_to, which holds the VM, or a monitor.

        interval_ms: of the monitor; 0 is an operation that does not recur. None is fine. Until the node was
        looked at anew the cluster takes the VM for stopped: never for a node that leaves.
        """
        ...

    def reprobe(self, name: VmName) -> None:
        """Have the cluster look at every node whether the VM runs there, and go on from what it finds.

        Until then it takes the VM for stopped: never while it may run on a node that leaves.
        """
        ...

    def alarm(self, name: VmName, node: NodeName, *, on: bool) -> None:
        """Say for all to see that a second QEMU of a VM was found on a node, until that boots anew."""
        ...

    def recover_blocked(self, name: VmName, *, lifetime_s: int) -> None:
        """Have a VM that a failed live migration holds stopped and started elsewhere.

        That is so for the lifetime, or until the next begin_move or end_move.
        """
        ...


class Cluster(ClusterView, VmResources, Moves, Recovery, Protocol):
    """The cluster's state and configuration; each change is one transaction.

    Without a running cluster everything raises ENVIRONMENT; a change that others kept
    coming before for 30 s raises TRY_LATER.
    """

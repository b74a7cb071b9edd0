"""Describe the cluster as Pacemaker reports it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, NewType

__all__ = [
    "OWN_AGENT",
    "ClusterState",
    "Failure",
    "Fencing",
    "Node",
    "NodeName",
    "Resource",
    "left_unfenced",
    "migration_host",
    "standby_end",
]

NodeName = NewType("NodeName", str)
OWN_AGENT = "ocf:vm-mgr:VirtualDomain"
# Whom Pacemaker's fencer names for a manual confirmation.
A_PERSON = "a human"


def migration_host(node: str, suffix: str) -> str:
    """Name a node on the migration network: the suffix stands before a domain, as in ocf:heartbeat's agent.

    >>> migration_host("n2", "-cluster"), migration_host("n2.example.com", "-cluster")
    ('n2-cluster', 'n2-cluster.example.com')
    """
    host, dot, domain = node.partition(".")
    return f"{host}{suffix}{dot}{domain}"


def left_unfenced(
    targets: Mapping[str, Sequence[str]], silent: Sequence[str]
) -> Iterator[tuple[str, Sequence[str], list[str]]]:
    """Give each silent fence device, its targets, and those of them that no other device fences.

    >>> list(left_unfenced({"f1": ["n1"], "f2": ["n2"], "pdu": ["n2"]}, ["f1", "f2", "f9"]))
    [('f1', ['n1'], ['n1']), ('f2', ['n2'], []), ('f9', (), [])]
    """
    covered = {node for name, nodes in targets.items() if name not in silent for node in nodes}
    for name in silent:
        known = targets.get(name, ())
        yield name, known, [node for node in known if node not in covered]


def standby_end(node: NodeName) -> str:
    """Give the command that ends the standby of a drain before the node's next boot."""
    return f"crm_standby -N {node} -l reboot -D"


# NamedTuples instead of dataclasses on the path of `status`: each costs a tenth of the import time.


class Node(NamedTuple):
    """A cluster node; observers vote and store but never run a VM.

    shutting_down: Pacemaker is being stopped there. attributes: what VMs find on it, requirement → value
    (model/node_requirements.py). alarms: the VMs of which a second QEMU was found on it since it was booted.
    full: of VMs that are paused there because their storage is full, since when (seconds since 1970).
    """

    name: NodeName
    online: bool = True
    unclean: bool = False
    standby: bool = False
    maintenance: bool = False
    pending: bool = False
    observer: bool = False
    shutting_down: bool = False
    attributes: Mapping[str, str] = {}
    alarms: tuple[str, ...] = ()
    full: Mapping[str, int] = {}

    @property
    def gone(self) -> bool:
        """Tell whether Pacemaker starts its resources elsewhere: shut down cleanly, or fenced.

        That is no proof that nothing else runs there: operations/storage/fenced.py has that.
        """
        return not self.online and not self.unclean and not self.pending

    @property
    def can_host(self) -> bool:
        """Tell whether a VM may be placed there now."""
        return self.online and not (
            self.unclean
            or self.standby
            or self.maintenance
            or self.pending
            or self.observer
            or self.shutting_down
        )


class Failure(NamedTuple):
    """A failed operation that Pacemaker remembers; the same reason at another time is another failure.

    interval_ms: of a monitor; 0 for an operation that does not recur.
    """

    text: str
    when: str = ""
    task: str = ""
    node: str = ""
    interval_ms: int = 0


class Fencing(NamedTuple):
    """The end of a try to fence a node, as Pacemaker remembers it.

    completed is in Pacemaker's words, 2026-01-31 23:59:59.123456Z; 2.1 leaves the fraction out.
    delegate: the node that did it; for `stonith_admin --confirm` the words below.
    """

    node: NodeName
    succeeded: bool
    completed: str = ""
    action: str = "reboot"
    delegate: str = ""

    @property
    def by_hand(self) -> bool:
        """Tell whether it is a person's word that the node is off."""
        return self.delegate == A_PERSON

    @property
    def failed(self) -> bool:
        """Tell a try that has failed from one that is still under way."""
        return not self.succeeded and bool(self.completed)

    @property
    def fences(self) -> bool:
        """Tell whether it cut the node off; `on` takes back an earlier cut, other actions only look."""
        return self.succeeded and self.action in ("reboot", "off")

    @property
    def completed_utc(self) -> float | None:
        """Give seconds since 1970, or None for what can't be read as a time.

        >>> Fencing(NodeName("n2"), True, "1970-01-01 01:00:10.250000 +01:00").completed_utc
        10.25
        >>> Fencing(NodeName("n2"), True, "1970-01-01 00:00:10Z").completed_utc
        10.0
        >>> Fencing(NodeName("n2"), True, "yesterday").completed_utc
        """
        from datetime import datetime  # noqa: PLC0415 - not for `status`

        try:
            day, _, rest = self.completed.partition(" ")
            when = datetime.fromisoformat(f"{day}T{rest.replace(' ', '')}")
        except ValueError:
            return None
        return when.timestamp() if when.tzinfo else None


class Resource(NamedTuple):
    """A primitive as it is now, whichever agent it uses.

    within: the group, clone or bundle that it is a part of, in words: "group office". followers: the members
    of its group that start after it, and stop with it.
    """

    name: str
    agent: str = OWN_AGENT
    role: str = "Stopped"
    target_role: str = ""
    active: bool = False
    failed: bool = False
    blocked: bool = False
    managed: bool = True
    pending: str = ""
    nodes: tuple[NodeName, ...] = ()
    banned_by_failures: tuple[NodeName, ...] = ()
    failures: tuple[Failure, ...] = ()
    within: str = ""
    followers: tuple[str, ...] = ()

    @property
    def wanted(self) -> str:
        """Say what it is to be; what is nowhere said is to run."""
        return "Stopped" if self.target_role == "Stopped" else "Started"

    @property
    def in_transition(self) -> bool:
        """Tell whether the cluster starts, stops or moves it just now; Pacemaker tells so in either word."""
        return bool(self.pending) or self.role in ("Starting", "Stopping", "Migrating")

    @property
    def last_failure(self) -> str:
        """Say what failed last, or nothing: Pacemaker lists failures by node, and its times sort as text."""
        return max(reversed(self.failures), key=lambda one: one.when).text if self.failures else ""

    @property
    def blocked_on(self) -> str:
        """Name the node where a failed live migration keeps the cluster from acting on a VM; mostly none."""
        moves = [failure.node for failure in self.failures if failure.task == "migrate_to"]
        return moves[-1] if self.blocked and moves else ""

    @property
    def is_vm(self) -> bool:
        """Tell a VM from the cluster's other resources by its agent's type."""
        return self.agent.endswith(":VirtualDomain")


class ClusterState(NamedTuple):
    """Everything that one look at the cluster tells.

    sets: of each clone, group and bundle, the nodes where all of it runs, in whatever role.
    clones: of each clone, node → role of its instance there, in the words Started, Promoted, Unpromoted.
    maintenance: nothing is managed (maintenance-mode). stop_all: nothing is to run (stop-all-resources).
    opt_in: only nodes that rules name are open to resources (symmetric-cluster=false). ruled: the VMs whose
    rules by what they require open nodes there; elsewhere these are not looked for.
    fence_devices: how many work. silent_devices: the others, which have failed or are stopped.
    """

    nodes: tuple[Node, ...]
    resources: Mapping[str, Resource]
    quorate: bool = True
    fencing_enabled: bool = True
    fence_devices: int = 0
    silent_devices: tuple[str, ...] = ()
    fencings: tuple[Fencing, ...] = ()
    sets: Mapping[str, frozenset[NodeName]] = {}
    clones: Mapping[str, Mapping[NodeName, str]] = {}
    maintenance: bool = False
    stop_all: bool = False
    opt_in: bool = False
    ruled: frozenset[str] = frozenset()

    @property
    def hosts(self) -> tuple[NodeName, ...]:
        """Name the nodes where a VM may be placed now."""
        return tuple(node.name for node in self.nodes if node.can_host)

    def has(self, name: str) -> bool:
        """Tell whether a resource of any kind has this name."""
        return name in self.resources or name in self.sets

    def node(self, name: str) -> Node | None:
        """Find a node by name."""
        return next((node for node in self.nodes if node.name == name), None)

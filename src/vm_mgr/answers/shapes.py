"""The data of each answer: what --output prints, and what its JSON Schema is made from.

Within a schema fields are only added (docs/design/0005-output-schema.md). A text of `words` has these values
today and may get more. Times are UTC in ISO 8601, sizes are bytes.
"""

from typing import Annotated, NamedTuple, TypedDict

from vm_mgr.model.event import NO_SHUTDOWN, EventKind
from vm_mgr.model.failback import Failback
from vm_mgr.model.health_checks import LEVELS
from vm_mgr.model.migration import AbortReason
from vm_mgr.model.on_move import MoveMethod, OnMove
from vm_mgr.model.storage import Consistency
from vm_mgr.model.vm import VmState


class Words(NamedTuple):
    """The values that a text has today."""

    known: tuple[str, ...]


State = Annotated[str, Words(tuple(word.value for word in VmState))]
Kind = Annotated[str, Words(tuple(word.value for word in EventKind))]
Consistent = Annotated[str, Words(tuple(word.value for word in Consistency))]


class Vm(TypedDict):
    """A VM: where it runs, and what failed or is under way."""

    name: str
    state: State
    node: str
    detail: str


class ListedVm(Vm, total=False):
    """A VM of a list, with what is stored of it if that was asked for (`list --wide`)."""

    since: str
    wanted: Annotated[str, Words(("", "Started", "Stopped"))]
    paused: bool
    memory_bytes: int | None
    vcpus: int | None
    on_move: Annotated[str, Words(("", *(word.value for word in OnMove)))]
    storage: str
    description: str


class Imported(Vm):
    """A VM that was imported: the texts name what of its appliance is not taken over."""

    not_taken_over: list[str]


class DryRun(TypedDict):
    """What a command would do: texts for people."""

    dry_run: bool
    steps: list[str]


class Removed(TypedDict):
    """That a VM is removed."""

    name: str
    removed: bool


class GuestAddress(TypedDict):
    """An address of a guest, and who told it."""

    address: str
    mac: str
    source: Annotated[str, Words(("agent", "lease", "arp"))]


class Executed(TypedDict):
    """How a program has ended in a guest, and what it printed."""

    name: str
    exit_code: int
    stdout: str
    stderr: str


class Screenshot(TypedDict):
    """The file that has the picture of a guest's screen."""

    name: str
    file: str


class Paused(TypedDict):
    """Whether a VM is paused now, and where it is."""

    name: str
    paused: bool
    node: str


class Changed(TypedDict):
    """Whether anything of a VM is different now."""

    name: str
    changed: bool


class DiskSize(TypedDict):
    """A VM's disk and its size."""

    name: str
    image: str
    size_bytes: int


class DiskRemoved(TypedDict):
    """The image that is removed from a VM."""

    name: str
    removed: str


class Flattened(TypedDict):
    """The images of a VM that shared blocks before."""

    name: str
    flattened: list[str]


class Snapshot(TypedDict):
    """A snapshot, and how consistent it is."""

    name: str
    taken: str
    consistency: Consistent


class SnapshotOfVm(Snapshot):
    """A snapshot, and whose it is."""

    vm: str


class SnapshotsRemoved(TypedDict):
    """The names of the snapshots that are removed."""

    vm: str
    removed: list[str]


class Note(TypedDict):
    """A note as it is now; its value is empty if there is none."""

    name: str
    key: str
    value: str


class RemoteNode(TypedDict):
    """The guest's name as a node; empty if there is none."""

    name: str
    remote: str


class RemovedConstraint(TypedDict):
    """A constraint that is removed."""

    id: str
    text: str


class ConstraintsRemoved(TypedDict):
    """The constraints that are removed."""

    name: str
    removed: list[RemovedConstraint]


class Recovered(TypedDict):
    """The VMs that were recovered."""

    recovered: list[str]


class Released(TypedDict):
    """The OSDs that were marked down, and the addresses of the clients that were blocklisted."""

    node: str
    osds: list[int]
    clients: list[str]


class Machine(TypedDict):
    """What the guest sees."""

    memory_bytes: int
    vcpus: int
    uuid: str
    macs: list[str]
    description: str


class Disk(TypedDict):
    """A disk: used_bytes is null where the storage does not tell, parent is what it shares blocks with."""

    image: str
    size_bytes: int
    used_bytes: int | None
    parent: str


class Check(TypedDict):
    """A deeper check, and how often it is made."""

    name: Annotated[str, Words(tuple(LEVELS))]
    interval_s: int


class Placement(TypedDict):
    """How the cluster runs a VM."""

    pinned_host: str
    preferred_host: str
    failback: Annotated[str, Words(tuple(word.value for word in Failback))]
    priority: int
    live_migration: bool
    on_move: Annotated[str, Words(tuple(word.value for word in OnMove))]
    start_timeout_s: int
    stop_timeout_s: int
    migrate_to_timeout_s: int
    migrate_from_timeout_s: int
    checks: list[Check]
    asks: list[str]
    follow_uplink: bool


class Colocation(TypedDict):
    """A VM or resource that is kept together with another one, or apart from it."""

    name: str
    beside: str
    score: str


class Constraint(RemovedConstraint):
    """Another constraint in the cluster that names a VM."""

    leftover: bool


class Obstacle(TypedDict):
    """What speaks against a node."""

    node: str
    reason: str
    never: bool


class NodeReadiness(TypedDict):
    """Whether a node has what is required; null where that is not known."""

    node: str
    has: bool | None


class Readiness(TypedDict):
    """What a node must have for the VM to start there: a word for programs, a text for people."""

    requirement: str
    text: str
    nodes: list[NodeReadiness]


class Failure(TypedDict):
    """A failure that the cluster remembers."""

    text: str
    when: str
    task: str
    node: str


class Saved(TypedDict):
    """The saved memory of a VM."""

    state: Annotated[str, Words(("", "saving", "complete", "used"))]
    node: str
    since: str
    size_bytes: int
    resumed_at_start: bool


class Shown(Vm):
    """Everything about a VM; unknown names what could not be read."""

    since: str
    paused: str
    storage: str
    machine: Machine | None
    disks: list[Disk] | None
    snapshots: list[Snapshot] | None
    placement: Placement | None
    colocations: list[Colocation]
    constraints: list[Constraint]
    obstacles: list[Obstacle]
    readiness: list[Readiness]
    failures: list[Failure]
    unfinished: str
    unfinished_on: str
    unfinished_since: str
    saved: Saved
    metadata: dict[str, str] | None
    set_by_others: dict[str, str]
    unknown: list[str]


class Event(TypedDict):
    """One thing that happened."""

    time: str
    node: str
    subject: str
    event: Kind
    detail: str
    waited_ms: dict[str, int]
    vms: list[str]
    why: Annotated[str, Words((*(word.value for word in AbortReason), NO_SHUTDOWN))]


class Phase(TypedDict):
    """A step of a failover, in milliseconds after its first sign."""

    event: Kind
    at_ms: int
    took_ms: int
    node: str
    detail: str
    waited_ms: dict[str, int]


class RecoveredVm(TypedDict):
    """A VM that ran on a lost node."""

    name: str
    node: str
    phases: list[Phase]


class Failover(TypedDict):
    """The loss of a node, and what followed."""

    node: str
    began: str
    phases: list[Phase]
    vms: list[RecoveredVm]
    unseen: list[str]


class Events(TypedDict):
    """What happened, the oldest first, and the failovers among it."""

    events: list[Event]
    failovers: list[Failover]


class MovedVm(TypedDict):
    """A VM that has left its node."""

    name: str
    to: str
    how: Annotated[str, Words(tuple(word.value for word in MoveMethod))]
    took_s: float


class StayingVm(TypedDict):
    """A VM that was left where it is."""

    name: str
    reason: str
    hint: str


class Drained(TypedDict):
    """What became of each VM of a node."""

    node: str
    standby: bool
    moved: list[MovedVm]
    stays: list[StayingVm]

"""Gather everything that is known about one VM."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import ClusterState, Failure, Node, NodeName, Resource
from vm_mgr.model.failover import arrival
from vm_mgr.model.intent import Intent
from vm_mgr.model.node_requirements import MISSING
from vm_mgr.model.replication import Trouble, troubles
from vm_mgr.model.requirement_words import text
from vm_mgr.model.saved_state import SavedState
from vm_mgr.model.storage import DiskInfo, Snapshot
from vm_mgr.model.vm import VmName, VmState, VmStatus
from vm_mgr.operations.enable import resource_for
from vm_mgr.operations.list_vms import warn_of_rules
from vm_mgr.operations.storage.overlay import disk_problems
from vm_mgr.operations.storage.quiesce import held_on
from vm_mgr.operations.support.bars import with_bars
from vm_mgr.operations.support.fence_devices import warn_of_lost_nodes, warn_of_silent_devices
from vm_mgr.operations.support.foreign_settings import set_by_others
from vm_mgr.operations.support.placement import PlacementProblem, placement_problems
from vm_mgr.operations.support.preconditions import require_defined
from vm_mgr.operations.support.requirements import ask_nodes
from vm_mgr.operations.support.vm_state import derive_status, outside
from vm_mgr.ports.cluster import Configured, Constraint, ResourceOperation, VmResource
from vm_mgr.ports.definition import Machine
from vm_mgr.ports.env import Env
from vm_mgr.ports.hypervisor import Domains
from vm_mgr.ports.replication import Replicated
from vm_mgr.reports import Level, Note

__all__ = ["Colocation", "Readiness", "Shown", "show", "show_definition"]

T = TypeVar("T")

LOOK_S = 10.0
ARRIVALS = ("start", "migrate_from")


class Colocation(NamedTuple):
    """Where one VM or resource wants to run beside another, or apart from it (score below 0)."""

    name: str
    beside: str
    score: str


class Readiness(NamedTuple):
    """A requirement, and which nodes have it; None: that is not known."""

    word: str
    text: str
    nodes: Mapping[NodeName, bool | None]


class Shown(NamedTuple):
    """A VM; None stands for what could not be looked at, which `unknown` names."""

    status: VmStatus
    since_utc: float | None = None
    paused: str = ""
    storage: str = ""
    machine: Machine | None = None
    disks: Sequence[DiskInfo] | None = None
    snapshots: Sequence[Snapshot] | None = None
    placement: VmResource | None = None
    colocations: Sequence[Colocation] = ()
    constraints: Sequence[Constraint] = ()
    placement_problems: Sequence[PlacementProblem] = ()
    readiness: Sequence[Readiness] = ()
    failures: Sequence[Failure] = ()
    unfinished: Intent | None = None
    metadata: Mapping[str, str] | None = None
    saved: SavedState | None = None
    unknown: Sequence[str] = ()
    set_by_others: Mapping[str, str] = {}


def show(env: Env, name: VmName) -> Shown:
    """Look everywhere; what does not answer is named in a warning, and the rest is still given."""
    state = env.cluster.state()
    resource = state.resources.get(name)
    if resource is None or not resource.is_vm:
        resource, seen = None, _outside(env, state, name)
    else:
        (seen,) = with_bars(env, [derive_status(resource, state)])
    warn_of_lost_nodes(env, state)
    if seen.node:
        warn_of_silent_devices(env, state, seen.node)
    warn_of_rules(env, [name] if name in state.ruled else [])
    configured = env.cluster.configured(name)
    looks = _Looks(env)
    shown = _stored(env, looks, name, configured, resource)
    words: Sequence[str] = ()
    sides = looks.at("replication", lambda: _troubles(env, name, shown.storage)) if shown.storage else ()
    for trouble in sides or ():
        env.say(Note(Level.WARNING, trouble.code, trouble.text, trouble.hint))
    if shown.machine is not None:
        words = looks.at("readiness", lambda: _requirements(env, name)) or ()
        for problem in looks.at("disks in use", lambda: disk_problems(env, state, name)) or ():
            env.say(Note(Level.WARNING, "writes-elsewhere", problem.message, problem.hint))
        if seen.state is VmState.STARTED:
            _tell_next_start(env, seen, shown.machine)
    return shown._replace(
        status=seen,
        since_utc=_since(looks, resource, configured.events) if resource else None,
        paused=_paused(env, looks, state, resource) if resource else "",
        colocations=tuple(_colocations(name, configured, shown.placement)),
        constraints=configured.others,
        placement_problems=placement_problems(state, shown.placement, resource) if shown.placement else (),
        readiness=_readiness(env, state, words),
        failures=resource.failures if resource else (),
        unknown=tuple(looks.unknown),
    )


def show_definition(env: Env, name: VmName) -> str:
    """Give the domain XML that is started; raises NOT_FOUND."""
    require_defined(env, name)
    return env.storage.definitions.read(name)


class _Looks:
    """Parts that may not answer; a storage that is out of reach, or has no such VM, is asked only once."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self.unknown: list[str] = []
        self.silent = False

    def at(self, what: str, look: Callable[[], T]) -> T | None:
        """Look at a part of the storage."""
        if self.silent:
            self.unknown.append(what)
            return None
        try:
            return look()
        except VmMgrError as error:
            self.silent = error.kind in (Kind.EXTERNAL_FAILURE, Kind.NOT_FOUND)
            self.missed(what, error)
            return None

    def missed(self, what: str, error: VmMgrError) -> None:
        """Say what is missing and why."""
        self.unknown.append(what)
        self.env.say(Note(Level.WARNING, "not-seen", f"{what}: {error.message}", error.hint))


def _tell_next_start(env: Env, seen: VmStatus, stored: Machine) -> None:
    """Say what the guest has until its next start, where that is not what is stored."""
    try:
        runs = env.definitions.machine(env.hypervisor_at(NodeName(seen.node)).running_definition(seen.name))
    except VmMgrError:
        return  # whether it stands is asked of the same libvirt, which is named then
    differs = [
        text
        for now, then, text in (
            (runs.memory_bytes, stored.memory_bytes, f"{runs.memory_bytes >> 20} MiB of memory"),
            (runs.vcpus, stored.vcpus, f"{runs.vcpus} vCPU{'' if runs.vcpus == 1 else 's'}"),
        )
        if now != then
    ]
    if differs and runs.memory_bytes:
        text = f"until its next start {seen.name} runs with {' and '.join(differs)}"
        env.say(Note(Level.INFO, "next-start", text, f"vm-mgr restart {seen.name}"))


def _troubles(env: Env, name: VmName, label: str) -> Sequence[Trouble]:
    storage = env.storages.get(label)
    return troubles(name, storage.sides(name)) if isinstance(storage, Replicated) else ()


def _requirements(env: Env, name: VmName) -> Sequence[str]:
    return env.definitions.requirements(env.storage.definitions.read(name))


def _readiness(env: Env, state: ClusterState, words: Sequence[str]) -> list[Readiness]:
    """Go by what the nodes have published; what they have not, those that are online are asked."""
    nodes = [one for one in state.nodes if not one.observer]
    open_ = [one for one in words if any(node.online and one not in node.attributes for node in nodes)]
    asks = any(node.name == env.cluster.local_node() for node in nodes)  # an observer has no key for that
    told = ask_nodes(env, state, open_).told if open_ and asks else {}

    def has(node: Node, one: str) -> bool | None:
        answer = node.attributes.get(one) or told.get(node.name, {}).get(one)
        return None if answer is None or not node.online else answer != MISSING

    return [Readiness(one, text(one), {node.name: has(node, one) for node in nodes}) for one in words]


def _outside(env: Env, state: ClusterState, name: VmName) -> VmStatus:
    """Give the state of a VM that the cluster doesn't have; a killed creation leaves only an intent."""
    if name in env.intent_log.intents() and not env.storage.definitions.exists(name):
        return VmStatus(name, VmState.UNDEFINED)
    require_defined(env, name)
    node = held_on(env, name)
    told = f"it runs on {node}, beside the cluster, which does not know of it" if node else ""
    return outside(name, state, detail=told)


def _stored(
    env: Env, looks: _Looks, name: VmName, configured: Configured, resource: Resource | None
) -> Shown:
    intents = looks.at("unfinished", env.intent_log.intents) or {}
    kept = looks.at("metadata", lambda: env.storage.definitions.settings(name))
    return Shown(
        VmStatus(name, VmState.UNDEFINED),
        storage=looks.at("storage", lambda: env.storages.label_of(name)) or "",
        machine=looks.at("machine", lambda: env.definitions.machine(env.storage.definitions.read(name))),
        disks=looks.at("disks", lambda: env.storage.disks.of(name)),
        snapshots=looks.at("snapshots", lambda: env.storage.snapshots.of(name)),
        placement=configured.vm
        or (looks.at("placement", lambda: resource_for(env, name, kept, start=True)) if kept else None),
        unfinished=intents.get(name),
        saved=looks.at("saved", lambda: env.storage.saved_memory.of(name)),
        metadata=kept.user_metadata if kept else None,
        set_by_others=set_by_others(configured, resource, kept) if resource else {},
    )


def _since(looks: _Looks, resource: Resource, events: Sequence[ResourceOperation]) -> float | None:
    """Tell when the VM came to its node, or stopped.

    After a cleanup, as an aborted move ends with one, the cluster only knows since when it has seen the VM
    run, the first good monitor; then the event log may know more.
    """
    if not resource.active:
        return max((event.when_utc for event in events if event.task == "stop"), default=None)
    here = [event for event in events if event.node in resource.nodes]
    came = [event.when_utc for event in here if event.task in ARRIVALS]
    if came:
        return max(came)
    seen = min((one.when_utc for one in here if one.task == "monitor"), default=None)
    return (None if looks.silent else _told_arrival(looks.env, resource)) or seen


def _told_arrival(env: Env, resource: Resource) -> float | None:
    """Look for it in the event log: the last that it tells of the VM has to be that it came here."""
    try:
        return arrival(env.event_log.read(), resource.name, resource.nodes)
    except VmMgrError:
        return None


def _paused(env: Env, looks: _Looks, state: ClusterState, resource: Resource) -> str:
    node = state.node(resource.nodes[0]) if resource.active and resource.nodes else None
    if node is None or not node.online:
        return ""
    name, hypervisor = VmName(resource.name), env.hypervisor_at(node.name)
    try:
        return hypervisor.paused(name, timeout_s=LOOK_S)
    except VmMgrError as error:
        if _is_absent(hypervisor, name):
            text = f"{name} does not run on {node.name} at this moment"
            env.say(Note(Level.INFO, "absent", text, "the cluster recovers it, or has just moved it"))
        else:
            looks.missed("paused", error)
        return ""


def _is_absent(hypervisor: Domains, name: VmName) -> bool:
    try:
        return hypervisor.domain_state(name, timeout_s=LOOK_S) == "absent"
    except VmMgrError:
        return False


def _colocations(name: VmName, configured: Configured, placement: VmResource | None) -> Iterator[Colocation]:
    for other, score in (placement.colocations if placement else {}).items():
        yield Colocation(name, other, score)
    for other, score in configured.named_by.items():
        yield Colocation(other, name, score)

"""Nodes of a simulated cluster: their power, networks, QEMUs and storage clients, on a virtual clock.

The agent runs for real on each of them. The world watches what a person would fear: a VM on two nodes.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.adapters.memory.env import MemoryEnv
from vm_mgr.adapters.memory.event_log import MemoryEventLog, MemoryJournal
from vm_mgr.adapters.memory.evidence import MemoryEvidence
from vm_mgr.adapters.memory.hypervisor import MemoryHypervisor
from vm_mgr.adapters.memory.intent_log import MemoryIntentLog
from vm_mgr.adapters.memory.storage import MemoryStorage, MemoryStorages
from vm_mgr.agent.actions import ACTIONS, failure
from vm_mgr.agent.parameters import Parameters
from vm_mgr.errors import AbortedError, Kind, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.event import Event
from vm_mgr.model.migration import AbortReason, Decision, JobSample, Step
from vm_mgr.model.storage import DiskClient
from vm_mgr.model.vm import VmName
from vm_mgr.ports.cluster import Cluster
from vm_mgr.ports.live_migration import Migration, Tell, quiet

if TYPE_CHECKING:
    from vm_mgr.adapters.memory.cluster import MemoryCluster

__all__ = ["NODES", "SimulatedNode", "World"]

NODES = (NodeName("n1"), NodeName("n2"), NodeName("n3"))
# How long a client that died counts as watching in Ceph (osd_client_watch_timeout).
WATCHED_S = 30.0
DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Happening:
    """What was seen from outside; kind is one of boot, resumed, arrived, fenced."""

    kind: str
    node: NodeName
    vm: str = ""


@dataclass(slots=True, kw_only=True)
class World:
    """All machines; dark are those without power, cut since when those without networks.

    booted: those that have lost power since the cluster has last heard of them.
    """

    folder: Path
    clock: VirtualClock = field(default_factory=VirtualClock)
    nodes: dict[NodeName, "SimulatedNode"] = field(default_factory=dict)
    dark: set[NodeName] = field(default_factory=set)
    cut: dict[NodeName, float] = field(default_factory=dict)
    silent_bmcs: set[NodeName] = field(default_factory=set)
    booted: set[NodeName] = field(default_factory=set)
    told: dict[NodeName, dict[str, str]] = field(default_factory=lambda: {node: {} for node in NODES})
    dead_clients: dict[DiskClient, float] = field(default_factory=dict)
    happenings: list[Happening] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    began_utc: float = 0.0
    during_migration: Callable[[], None] | None = None

    def build(self, cluster_at: Callable[[NodeName], Cluster]) -> None:
        """Make the nodes, which share a storage and see the cluster each from its own place."""
        # Pacemaker's tools also go by the host's clock: what is younger than this has a virtual date.
        self.began_utc = self.clock.now = time.time() // 1 + DAY_S
        shared = Shared(storage=SharedStorage(self))
        for node in NODES:
            self.nodes[node] = SimulatedNode(self, node, shared, cluster_at(node))

    def is_up(self, node: NodeName) -> bool:
        """Tell whether a node has power and networks."""
        return node not in self.dark and node not in self.cut

    def healthy(self) -> "SimulatedNode":
        """Give a node to type commands on."""
        return next((self.nodes[node] for node in NODES if self.is_up(node)), self.nodes[NODES[0]])

    def places(self, vm: str) -> list[NodeName]:
        """Name the nodes with power where a QEMU of the VM is."""
        return [node for node, one in self.nodes.items() if VmName(vm) in one.hypervisor.running]

    def act(self, node: NodeName, action: str, given: Parameters) -> VmMgrError | None:
        """Run the agent's action on a node, as Pacemaker does; give its failure."""
        env = self.nodes[node]
        try:
            ACTIONS[action](env, given)
        except VmMgrError as error:
            env.journal.record(failure(env, given.name, action, error))
            return error
        return None

    def see(self, kind: str, node: NodeName, vm: str = "") -> None:
        """Note what happens, and that a VM begins on a node while it is on another one."""
        self.happenings.append(Happening(kind, node, vm))
        others = [other for other in self.places(vm) if other != node] if vm else []
        if others:
            self.problems.append(f"{vm} began on {node} while it ran on {' and '.join(others)}")

    def boots(self, vm: str) -> int:
        """Count how often the VM's guest has booted."""
        return sum(1 for one in self.happenings if (one.kind, one.vm) == ("boot", vm))

    def power_off(self, node: NodeName) -> None:
        """End all that runs on a node, and forget what it keeps until it boots."""
        env = self.nodes[node]
        for vm in list(env.hypervisor.running):
            self.end(node, vm)
        env.own_clients.notes.clear()
        env.timers.lifts.clear()
        shutil.rmtree(env.state_dir, ignore_errors=True)
        self.told[node].clear()
        self.dark.add(node)
        self.booted.add(node)

    def fence(self, node: NodeName) -> None:
        """Have the BMC switch a node off, and on if it has power."""
        self.happenings.append(Happening("fenced", node))
        had_power = node not in self.dark
        self.power_off(node)
        if had_power:
            self.dark.discard(node)

    def end(self, node: NodeName, vm: VmName) -> None:
        """Let a QEMU die: the storage goes on counting its client for a while."""
        for client in self._living_clients(node, vm, self.nodes[node].storage.clients.images(vm)):
            self.dead_clients[client] = self.clock.now + WATCHED_S
        hypervisor = self.nodes[node].hypervisor
        hypervisor.running.pop(vm, None)
        hypervisor.halted.pop(vm, None)

    def clients(self, images: Sequence[str]) -> list[DiskClient]:
        """Give who has disks open, as the storage knows it: of the dead it learns late."""
        found: list[DiskClient] = []
        for node, env in self.nodes.items():
            for vm in env.hypervisor.running:
                found += self._living_clients(node, vm, images)
        for client, until in self.dead_clients.items():
            if client.image in images:
                found.append(client._replace(watching=self.clock.now < until))
        return found

    def blocklist(self, client: DiskClient) -> None:
        """Forget a client, which must not be alive."""
        for one in [*self.dead_clients]:
            if (one.image, one.address) == (client.image, client.address):
                del self.dead_clients[one]
        if self._is_alive(client):
            self.problems.append(
                f"a living client was put on the blocklist: {client.address} of {client.image}"
            )

    def _is_alive(self, client: DiskClient) -> bool:
        return any(one.address == client.address for one in self.clients([client.image]) if one.watching)

    def _living_clients(self, node: NodeName, vm: VmName, images: Sequence[str]) -> Iterator[DiskClient]:
        env = self.nodes[node]
        watching = self.clock.now < self.cut.get(node, self.clock.now) + WATCHED_S
        own = set(env.storage.clients.images(vm)) if env.storage.definitions.exists(vm) else set()
        run = env.hypervisor.runs.get(vm, 0)
        for image in images:
            if image in own:
                yield DiskClient(image, f"198.51.100.1{NODES.index(node) + 1}:0/{run}", watching=watching)


class SharedStorage(MemoryStorage):
    """The one storage; its clients are the QEMUs of all nodes."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.running = Running(world)

    def clients_of(self, images: Sequence[str]) -> list[DiskClient]:
        """Add those that run."""
        return [*super().clients_of(images), *self.world.clients(images)]

    def shut_out(self, client: DiskClient) -> None:
        """Put it on the blocklist."""
        super().shut_out(client)
        self.world.blocklist(client)


class Running:
    """The VMs that run anywhere."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __contains__(self, vm: object) -> bool:
        return bool(self._world.places(str(vm)))


@dataclass(slots=True, kw_only=True)
class Shared:
    """What all nodes have in common."""

    storage: SharedStorage
    intent_log: MemoryIntentLog = field(default_factory=MemoryIntentLog)
    event_log: MemoryEventLog = field(default_factory=MemoryEventLog)


class NodeHypervisor(MemoryHypervisor):
    """One node's libvirt; a migration arrives at another node's."""

    def __init__(self, world: World, node: NodeName) -> None:
        super().__init__()
        self.world = world
        self.node = node
        self.failing_start = ""
        self.aborting = AbortReason.NONE

    def create(self, xml: str, name: VmName, *, timeout_s: float) -> None:
        """Boot."""
        if self.failing_start:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, self.failing_start)
        super().create(xml, name, timeout_s=timeout_s)
        # Over all nodes each run has a number of its own: by it clients of the storage are told apart.
        self.runs[name] = len(self.world.happenings) + 1
        self.world.see("boot", self.node, name)

    def restore(self, path: str, name: VmName, *, timeout_s: float) -> None:
        """Go on with saved memory."""
        super().restore(path, name, timeout_s=timeout_s)
        self.world.see("resumed", self.node, name)

    def migrate(self, migration: Migration, tell: Tell = quiet) -> bool:
        """Move to another node, if that answers."""
        name = migration.name
        host = migration.destination_uri.partition("//")[2].partition("/")[0]
        target = NodeName(host.removesuffix("-cluster"))
        if not self.world.is_up(target):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"no route to {target}")
        there = self.world.nodes[target].hypervisor
        self._happen(tell)
        run, xml, uuid = self.runs.get(name, 0), self.xmls.get(name, ""), self.uuids.get(name, "")
        goes_on = super().migrate(migration, tell)
        there.running[name] = 1000 + len(there.running)
        there.runs[name], there.xmls[name], there.uuids[name] = run, xml, uuid
        there.vcpu_times_ns[there.running[name]] = 0
        self.world.see("arrived", target, name)
        return goes_on

    def _happen(self, tell: Tell) -> None:
        """Let happen what a step has for the middle of a migration, and ask the agent whether it goes on."""
        if self.aborting:
            raise AbortedError(f"the migration was aborted: {self.aborting.value}", self.aborting.value)
        during, self.world.during_migration = self.world.during_migration, None
        if during is not None:
            during()
            if not self.world.is_up(self.node):
                raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{self.node} is gone")
            sample = JobSample(elapsed_s=5.0, remaining_bytes=1 << 40, rate_bps=1 << 20)
            if reason := tell(sample, Decision(Step.GO_ON)):
                raise AbortedError(reason, AbortReason.RECOVERY.value)


class NodeJournal(MemoryJournal):
    """A journal whose events reach the event log."""

    def __init__(self, node: NodeName, event_log: MemoryEventLog) -> None:
        super().__init__()
        self.node = node
        self.event_log = event_log

    def record(self, event: Event) -> None:
        """Keep it."""
        super().record(event)
        self.event_log.append([event._replace(node=event.node or self.node)])


class SimulatedNode(MemoryEnv):
    """All ports as one node has them."""

    hypervisor: NodeHypervisor
    storage: SharedStorage

    def __init__(self, world: World, node: NodeName, shared: Shared, cluster: Cluster) -> None:
        super().__init__(DomainXml())
        self.world = world
        self.clock = world.clock
        self.state_dir = world.folder / node
        self.storage = shared.storage
        self.storages = MemoryStorages(shared.storage)
        self.intent_log, self.event_log = shared.intent_log, shared.event_log
        self.journal = NodeJournal(node, shared.event_log)
        self.hypervisor = NodeHypervisor(world, node)
        self.processes = self.hypervisor
        self.evidence = MemoryEvidence(self.hypervisor, world.clock)
        self.cluster = cast("MemoryCluster", cluster)  # any cluster does

    def hypervisor_at(self, node: NodeName) -> MemoryHypervisor:
        """Give that of another node, if it can be reached."""
        if not self.world.is_up(node):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"libvirt of {node} can't be reached")
        return self.world.nodes[node].hypervisor

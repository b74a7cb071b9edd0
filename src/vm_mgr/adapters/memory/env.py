"""Gather the memory adapters."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.adapters.memory.cluster import MemoryCluster
from vm_mgr.adapters.memory.event_log import MemoryEventLog, MemoryJournal
from vm_mgr.adapters.memory.evidence import MemoryEvidence
from vm_mgr.adapters.memory.hypervisor import MemoryHypervisor
from vm_mgr.adapters.memory.images import MemoryImages
from vm_mgr.adapters.memory.intent_log import MemoryIntentLog
from vm_mgr.adapters.memory.node_runner import MemoryNodeRunner
from vm_mgr.adapters.memory.nodes import MemoryNodes
from vm_mgr.adapters.memory.nvram_files import MemoryNvramFiles
from vm_mgr.adapters.memory.own_clients import MemoryOwnClients
from vm_mgr.adapters.memory.storage import MemoryStorage, MemoryStorages
from vm_mgr.adapters.memory.storage_fencing import MemoryStorageFencing
from vm_mgr.adapters.memory.timings import MemoryTimings
from vm_mgr.config import StorageSettings
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.node_requirements import MISSING, PRESENT
from vm_mgr.model.vm import VmName
from vm_mgr.ports.definition import Definitions
from vm_mgr.ports.holds import Hold
from vm_mgr.reports import Report

__all__ = ["MemoryEnv"]


class Elsewhere:
    """Another node's libvirt: a VM is there where the cluster has it there."""

    def __init__(self, hypervisor: MemoryHypervisor, node: NodeName, cluster: MemoryCluster) -> None:
        self._hypervisor = hypervisor
        self._node = node
        self._cluster = cluster

    def __getattr__(self, verb: str) -> Any:
        """Do all else as the only one."""
        return getattr(self._hypervisor, verb)

    def domain_state(self, name: VmName, *, timeout_s: float) -> str:
        """Look whether it is there."""
        state = self._hypervisor.domain_state(name, timeout_s=timeout_s)
        elsewhere = name in self._cluster.resources and self._cluster.places.get(name) != self._node
        return "absent" if elsewhere else state


class MemoryTimers:
    """Timers that never go off by themselves."""

    def __init__(self) -> None:
        self.lifts: dict[str, float] = {}
        self.watches: dict[str, int] = {}
        self.made = 0

    def schedule_unblock(self, name: VmName, after_s: float) -> str:
        """Remember it."""
        self.made += 1
        self.lifts[f"{name}..{self.made}"] = after_s
        return f"{name}..{self.made}"

    def watch(self, name: VmName, pid: int) -> str:
        """Remember it."""
        self.watches[f"{name}..watch"] = pid
        return f"{name}..watch"

    def cancel(self, timer: str) -> None:
        """Forget it."""
        self.lifts.pop(timer, None)
        self.watches.pop(timer, None)


class MemoryHolds:
    """Limits of all nodes; a test says when one is reached."""

    def __init__(self) -> None:
        self.limits: dict[VmName, tuple[Hold, float]] = {}
        self.refusing = ""

    def begin(self, name: VmName, hold: Hold, after_s: float) -> None:
        """Remember it."""
        if self.refusing:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, self.refusing)
        self.limits[name] = (hold, after_s)

    def end(self, name: VmName) -> None:
        """Forget it."""
        self.limits.pop(name, None)


class MemoryFacts:
    """What a node has: all but what a test takes from it; unknown: what it can't tell."""

    def __init__(self) -> None:
        self.lacks: set[str] = set()
        self.unknown: set[str] = set()
        self.silent = False
        self.rejects: VmMgrError | None = None
        self.asked: list[Sequence[str]] = []

    def answers(self, requirements: Sequence[str]) -> Mapping[str, str]:
        """Give what a test has set."""
        self.asked.append(tuple(requirements))
        if self.silent:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "no answer")
        return {
            one: MISSING if one in self.lacks else PRESENT for one in requirements if one not in self.unknown
        }

    def rejection(self, xml: str) -> VmMgrError | None:  # noqa: ARG002 - a test says so
        """Give what a test has set."""
        return self.rejects


class MemoryEnv:
    """A cluster of three nodes, seen from the first."""

    def __init__(self, definitions: Definitions) -> None:
        self.state_dir = Path("/dev/null/state")
        self.hypervisor = MemoryHypervisor()
        self.cluster = MemoryCluster(domains=self.hypervisor)
        self.nodes = MemoryNodes(self.cluster)
        self.storage = MemoryStorage()
        self.storage.running = self.cluster.places
        self.storages = MemoryStorages(self.storage)
        self.intent_log = MemoryIntentLog()
        self.storage_fencing = MemoryStorageFencing()
        self.event_log = MemoryEventLog()
        self.journal = MemoryJournal()
        self.images = MemoryImages()
        self.processes = self.hypervisor
        self.own_clients = MemoryOwnClients()
        self.node_runner = MemoryNodeRunner()
        self.nvram_files = MemoryNvramFiles()
        self.timings = MemoryTimings(self.cluster)
        self.clock = VirtualClock()
        self.evidence = MemoryEvidence(self.hypervisor, self.clock)
        self.timers = MemoryTimers()
        self.holds = MemoryHolds()
        self.facts: dict[NodeName, MemoryFacts] = {}
        self.definitions = definitions
        self.said: list[Report] = []
        self.migration_network_suffix = "-cluster"
        self.node_addresses = {f"198.51.100.1{number}": NodeName(f"n{number}") for number in (1, 2, 3)}
        self.storage_settings = StorageSettings()

    def hypervisor_at(self, node: NodeName) -> MemoryHypervisor:
        """Give the only one, which stands for all, but knows a VM on no node but its own."""
        if node == self.cluster.local_node():
            return self.hypervisor
        return cast("MemoryHypervisor", Elsewhere(self.hypervisor, node, self.cluster))

    def facts_at(self, node: NodeName) -> MemoryFacts:
        """Give those of this node."""
        return self.facts.setdefault(node, MemoryFacts())

    def holds_at(self, node: NodeName) -> MemoryHolds:  # noqa: ARG002
        """Give the only ones."""
        return self.holds

    def say(self, report: Report) -> None:
        """Remember what was said."""
        self.said.append(report)

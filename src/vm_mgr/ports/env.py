"""Gather the ports that an operation is handed."""

from collections.abc import Mapping
from typing import Protocol

from vm_mgr.model.cluster import NodeName
from vm_mgr.ports.clock import Clock
from vm_mgr.ports.cluster import Cluster
from vm_mgr.ports.definition import Definitions
from vm_mgr.ports.event_log import EventLog, Journal
from vm_mgr.ports.holds import HoldLimits
from vm_mgr.ports.hypervisor import Hypervisor
from vm_mgr.ports.images import Images
from vm_mgr.ports.intent_log import IntentLog
from vm_mgr.ports.node_facts import NodeFacts
from vm_mgr.ports.node_runner import NodeRunner
from vm_mgr.ports.nodes import Nodes
from vm_mgr.ports.nvram_files import NvramFiles
from vm_mgr.ports.own_clients import OwnClients
from vm_mgr.ports.processes import Processes
from vm_mgr.ports.storage import Storage
from vm_mgr.ports.storage_fencing import StorageFencing
from vm_mgr.ports.storages import Storages
from vm_mgr.ports.timings import Timings
from vm_mgr.reports import Say

__all__ = ["Env"]


class Env(Protocol):
    """Everything external; each part is built when it is first used."""

    @property
    def cluster(self) -> Cluster:
        """Pacemaker."""
        ...

    @property
    def nodes(self) -> Nodes:
        """The machines of the cluster."""
        ...

    @property
    def storages(self) -> Storages:
        """All storages, by label."""
        ...

    @property
    def storage(self) -> Storage:
        """Disks and definitions of VMs that exist, whichever storage has them."""
        ...

    @property
    def intent_log(self) -> IntentLog:
        """Who is at which VM, and what was left unfinished."""
        ...

    @property
    def storage_fencing(self) -> StorageFencing:
        """Whom to tell that a node is dead; raises NOT_SUPPORTED where no storage needs to know."""
        ...

    @property
    def event_log(self) -> EventLog:
        """What has happened."""
        ...

    @property
    def journal(self) -> Journal:
        """Where to say what happens."""
        ...

    @property
    def images(self) -> Images:
        """Image files of this machine."""
        ...

    @property
    def definitions(self) -> Definitions:
        """Domain XML."""
        ...

    @property
    def hypervisor(self) -> Hypervisor:
        """Running domains on this node."""
        ...

    def hypervisor_at(self, node: NodeName) -> Hypervisor:
        """Running domains on another node."""
        ...

    def holds_at(self, node: NodeName) -> HoldLimits:
        """Limits for how long a command may hold a guest of a node still."""
        ...

    def facts_at(self, node: NodeName) -> NodeFacts:
        """What a node has of what VMs require."""
        ...

    @property
    def node_runner(self) -> NodeRunner:
        """What other nodes do when they are asked."""
        ...

    @property
    def nvram_files(self) -> NvramFiles:
        """What this node has of VMs' UEFI variables and TPMs."""
        ...

    @property
    def processes(self) -> Processes:
        """Processes on this node."""
        ...

    @property
    def own_clients(self) -> OwnClients:
        """Which storage clients are those of VMs that run, or ran, on this node."""
        ...

    @property
    def timings(self) -> Timings:
        """Timeouts of cluster and storage."""
        ...

    @property
    def clock(self) -> Clock:
        """Time."""
        ...

    @property
    def say(self) -> Say:
        """Where reports go."""
        ...

    @property
    def migration_network_suffix(self) -> str:
        """What to append to a node's name to get its name on the migration network."""
        ...

    @property
    def node_addresses(self) -> Mapping[str, NodeName]:
        """Which node a storage client's IP address belongs to."""
        ...

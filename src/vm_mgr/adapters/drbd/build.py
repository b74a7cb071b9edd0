"""Put the storage on DRBD together from the configuration."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from vm_mgr.adapters.drbd.node import DrbdNode
from vm_mgr.adapters.drbd.node_files import NodeFiles
from vm_mgr.adapters.drbd.openers import openers_of
from vm_mgr.adapters.drbd.pair import Pair
from vm_mgr.adapters.drbd.pool import DrbdPool
from vm_mgr.adapters.drbd.port import DrbdStorage
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from vm_mgr.config import DrbdSettings
    from vm_mgr.ports.clock import Clock
    from vm_mgr.ports.cluster_disks import ClusterDisks
    from vm_mgr.ports.node_runner import NodeRunner
    from vm_mgr.ports.runner import Runner
    from vm_mgr.ports.storage_records import StorageRecords

__all__ = ["Around", "addresses_of", "build_node", "build_storage"]


class Around(NamedTuple):
    """What is around a storage on DRBD; addresses: address → node, of the configuration's [nodes]."""

    records: StorageRecords
    disks: ClusterDisks
    runner: Runner
    clock: Clock
    proc: Path
    here: Callable[[], NodeName]
    others: NodeRunner
    addresses: Callable[[], Mapping[str, NodeName]]
    require: Callable[[], None]


def build_node(settings: DrbdSettings, around: Around) -> DrbdNode:
    """Give this node's halves of disks."""
    return DrbdNode(
        around.runner,
        around.clock,
        around.records,
        NodeFiles(settings.group),
        group=settings.group,
        pool=settings.pool,
        openers=partial(openers_of, proc=around.proc),
    )


def build_storage(settings: DrbdSettings, around: Around) -> DrbdStorage:
    """Give the storage."""
    pool = DrbdPool(
        around.records,
        Pair(build_node(settings, around), around.here, around.others, around.clock),
        around.disks,
        around.runner,
        around.clock,
        group=settings.group,
        nodes=lambda: addresses_of(settings, around.addresses()),
        ports=settings.ports,
        cache=settings.cache,
        io=settings.io,
        require=around.require,
    )
    return DrbdStorage(pool)


def addresses_of(settings: DrbdSettings, addresses: Mapping[str, NodeName]) -> dict[NodeName, str]:
    """Give each node with disks its first address; raises ENVIRONMENT where it has none.

    >>> from vm_mgr.config import DrbdSettings
    >>> addresses_of(DrbdSettings(("n1",)), {"192.0.2.1": "n1", "192.0.2.101": "n1", "192.0.2.2": "n2"})
    {'n1': '192.0.2.1'}
    """
    first = {node: address for address, node in reversed(list(addresses.items()))}
    missing = [node for node in settings.nodes if node not in first]
    if missing:
        message = f"the configuration names no address of {', '.join(missing)}"
        raise VmMgrError(Kind.ENVIRONMENT, message, hint="add it to [nodes] on all nodes")
    return {NodeName(node): first[NodeName(node)] for node in settings.nodes}

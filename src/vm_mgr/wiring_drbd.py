"""Build what there is of DRBD; loaded with all of it when a storage on DRBD is first asked for."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from vm_mgr.adapters.drbd.build import Around, build_node, build_storage
from vm_mgr.adapters.pacemaker.cib import Cib
from vm_mgr.adapters.pacemaker.cib_disks import CibDisks
from vm_mgr.adapters.pacemaker.cib_storage_records import CibStorageRecords
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.node_paths import node_paths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vm_mgr.adapters.drbd.node import DrbdNode
    from vm_mgr.adapters.drbd.port import DrbdStorage
    from vm_mgr.adapters.pacemaker.port import Pacemaker
    from vm_mgr.config import DrbdSettings
    from vm_mgr.model.cluster import NodeName
    from vm_mgr.ports.clock import Clock
    from vm_mgr.ports.node_runner import NodeRunner
    from vm_mgr.ports.runner import Runner

__all__ = ["Drbd"]


class Parts(Protocol):
    """What it takes of the environment."""

    @property
    def runner(self) -> Runner:
        """The programs of this node."""
        ...

    @property
    def clock(self) -> Clock:
        """Time."""
        ...

    @property
    def cluster(self) -> Pacemaker:
        """The cluster, whose configuration has the records."""
        ...

    @property
    def node_runner(self) -> NodeRunner:
        """The other nodes."""
        ...

    @property
    def node_addresses(self) -> Mapping[str, NodeName]:
        """Whose address is which."""
        ...


class Drbd:
    """The storage, and this node's part in it."""

    def __init__(self, settings: DrbdSettings | None, env: Parts) -> None:
        """Without settings nothing can be built: raises NOT_SUPPORTED."""
        if settings is None:
            hint = "add a table [drbd] to the configuration of all nodes"
            raise VmMgrError(Kind.NOT_SUPPORTED, "no disks on DRBD are configured here", hint=hint)
        self.settings = settings
        cib = Cib(env.runner, env.clock)
        self.around = Around(
            CibStorageRecords(cib, settings.label),
            CibDisks(cib),
            env.runner,
            env.clock,
            node_paths().proc,
            env.cluster.local_node,
            env.node_runner,
            lambda: env.node_addresses,
            env.cluster.require,
        )

    @cached_property
    def storage(self) -> DrbdStorage:
        """The storage."""
        return build_storage(self.settings, self.around)

    @cached_property
    def node(self) -> DrbdNode:
        """This node's halves of disks."""
        return build_node(self.settings, self.around)

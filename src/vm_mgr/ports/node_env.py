"""Gather the ports of what acts on its own node: the resource agent, libvirt's hook, timers."""

from pathlib import Path
from typing import Protocol

from vm_mgr.config import StorageSettings
from vm_mgr.ports.env import Env
from vm_mgr.ports.evidence import Evidence
from vm_mgr.ports.node_disks import NodeDisks
from vm_mgr.ports.timers import Timers

__all__ = ["AskedEnv", "NodeEnv"]


class NodeEnv(Env, Protocol):
    """What operations are handed, and what only makes sense on the node of a VM."""

    @property
    def evidence(self) -> Evidence:
        """What says more about a running VM than its process does."""
        ...

    @property
    def timers(self) -> Timers:
        """What this node does later, when nobody waits for it any more."""
        ...

    @property
    def state_dir(self) -> Path:
        """The folder for what is kept until the node boots."""
        ...

    @property
    def storage_settings(self) -> StorageSettings:
        """The configuration's part about storages."""
        ...


class AskedEnv(NodeEnv, Protocol):
    """What also a node is handed that does something for another one."""

    @property
    def node_disks(self) -> NodeDisks:
        """This node's halves of replicated disks; raises NOT_SUPPORTED where no storage has such."""
        ...

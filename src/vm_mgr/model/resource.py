"""Describe what a VM has in the cluster beside itself: resources of its disks, and dependencies."""

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import NamedTuple

from vm_mgr.model.cluster import NodeName

__all__ = ["OURS", "Clone", "ClusterParts", "Dependency", "DiskResource", "Role", "disk_id", "renamed_id"]

OURS = "vm-mgr-disk-"


class Clone(Enum):
    """How a resource runs on several nodes; in a promotable one a few instances may write, others not."""

    PLAIN = "plain"
    PROMOTABLE = "promotable"


class Role(StrEnum):
    """What another resource must be on a node, in Pacemaker's words."""

    STARTED = "Started"
    PROMOTED = "Promoted"


class DiskResource(NamedTuple):
    """A cluster resource that gives one VM its disks: a DRBD resource, active logical volumes.

    id: from disk_id; others refer to it by that, also to a clone. agent: CLASS:PROVIDER:TYPE.
    params: of the agent; they do not name the VM, which can be renamed. meta: of the clone, if it is one.
    timeouts_s: action → seconds; what is not named has the cluster's default.
    nodes: those that have the data; empty for all.
    """

    id: str
    agent: str
    params: Mapping[str, str] = {}
    clone: Clone | None = None
    meta: Mapping[str, str] = {}
    timeouts_s: Mapping[str, int] = {}
    nodes: tuple[NodeName, ...] = ()


class Dependency(NamedTuple):
    """A resource that must have a role on a node before the VM may start there."""

    on: str
    role: Role = Role.STARTED


class ClusterParts(NamedTuple):
    """What a storage wants of the cluster for one VM."""

    disks: tuple[DiskResource, ...] = ()
    depends_on: tuple[Dependency, ...] = ()


def disk_id(name: str, part: str) -> str:
    """Name a resource of a VM's disks; no part contains "..".

    >>> disk_id("web1", "drbd")
    'vm-mgr-disk-web1..drbd'
    """
    return f"{OURS}{name}..{part}"


def renamed_id(ident: str, name: str, new: str) -> str:
    """Give an id as it is once the VM has another name; what is none of its disks' keeps it.

    >>> renamed_id("vm-mgr-disk-web1..drbd", "web1", "web2"), renamed_id("web10", "web1", "web2")
    ('vm-mgr-disk-web2..drbd', 'web10')
    """
    was = disk_id(name, "")
    return disk_id(new, "") + ident.removeprefix(was) if ident.startswith(was) else ident

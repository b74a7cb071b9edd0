"""What a lab consists of: nodes, their roles and addresses; written to the state folder by `up`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from vm_mgr_lab.errors import LabError
from vm_mgr_lab.paths import Paths

__all__ = [
    "HOST_ADDRESS",
    "NETWORKS",
    "SERVICE",
    "SERVICE_PREFIX",
    "Node",
    "OwnKernel",
    "Topology",
    "bmc_address",
]

Role = Literal["hypervisor", "observer"]

# Documentation prefixes (RFC 5737); they exist inside the lab's own network namespaces only.
NETWORKS = {"admin": "192.0.2", "cluster": "198.51.100"}
HOST_ADDRESS = "192.0.2.1"
# A network that no fault cuts: what is run from outside on nodes with a kernel of their own goes over it.
SERVICE, SERVICE_PREFIX = "service", "203.0.113"
MOST_NODES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One machine of the lab; index counts from 1 and gives its addresses."""

    name: str
    index: int
    role: Role

    def address(self, network: str) -> str:
        """Return the node's address on the admin or the cluster network."""
        return f"{NETWORKS[network]}.{10 + self.index}"

    @property
    def service_address(self) -> str:
        """The node's address on the network that no fault cuts."""
        return f"{SERVICE_PREFIX}.{10 + self.index}"


def bmc_address(node: Node) -> str:
    """Return the address of a node's BMC, on the admin network."""
    return f"{NETWORKS['admin']}.{100 + node.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnKernel:
    """What nodes with a kernel of their own run on; folders as text, for they are written to a file."""

    folder: str  # of kernel.py
    loader: str  # the image whose C library runs it
    memory_mib: int = 1280
    disk_mib: int = 4096  # a disk that a node has to itself
    shared_disks_mib: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """The lab as it was asked for, and the disk layers its nodes boot from (lowest last)."""

    suite: str
    nodes: tuple[Node, ...]
    kvm: bool
    lower: dict[str, list[str]]
    storages: tuple[str, ...] = ("ceph", "shared_dir")
    own_kernel: OwnKernel | None = None  # none: containers, on the host's kernel

    @staticmethod
    def make_nodes(hypervisors: int, observers: int) -> tuple[Node, ...]:
        """Return n1, n2, …: hypervisors first, then observers."""
        total = hypervisors + observers
        if hypervisors < 1 or observers < 0 or total > MOST_NODES:
            raise LabError(
                f"cannot make {hypervisors} hypervisors and {observers} observers",
                hint=f"at least one hypervisor, at most {MOST_NODES} machines",
            )
        return tuple(
            Node(name=f"n{i}", index=i, role="hypervisor" if i <= hypervisors else "observer")
            for i in range(1, total + 1)
        )

    @classmethod
    def load(cls, paths: Paths) -> "Topology":
        """Read the running lab's description; LabError when no lab is up."""
        try:
            raw = json.loads(paths.description.read_text())
        except FileNotFoundError:
            raise LabError("no lab is up", hint="vm-mgr-lab up") from None
        raw["nodes"] = tuple(Node(**node) for node in raw["nodes"])
        raw["storages"] = tuple(raw["storages"])
        if raw["own_kernel"]:
            shared = tuple(raw["own_kernel"].pop("shared_disks_mib"))
            raw["own_kernel"] = OwnKernel(**raw["own_kernel"], shared_disks_mib=shared)
        return cls(**raw)

    def save(self, paths: Paths) -> None:
        """Write the description in one step, so that no reader sees half of it."""
        paths.state.mkdir(parents=True, exist_ok=True)
        draft = paths.description.with_suffix(".new")
        draft.write_text(json.dumps(asdict(self), indent=1))
        draft.rename(paths.description)

    def node(self, name: str) -> Node:
        """Return the node with that name; LabError names those that exist."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise LabError(
            f"no node {name!r} in this lab", hint="nodes: " + ", ".join(n.name for n in self.nodes)
        )

    def disk_layers(self, name: str) -> list[Path]:
        """Return the read-only layers below a node's disk, topmost first."""
        return [Path(layer) for layer in self.lower[name]]

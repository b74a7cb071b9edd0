"""The running lab: its nodes' power, links and consoles, for the command line, the BMCs and the tests."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from vm_mgr_lab import bmc
from vm_mgr_lab.cgroup import Cgroup
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.machine import Machine, NspawnMachine, UmlMachine
from vm_mgr_lab.network import Network, switch_namespace
from vm_mgr_lab.paths import Paths
from vm_mgr_lab.process import copy_through, run
from vm_mgr_lab.topology import NETWORKS, Node, Topology

__all__ = ["Lab"]

# A container boots in 2 s, no server does. A node that is back before all have been told that it was fenced
# hears of it itself, and its Pacemaker then rightly stops for good.
FIRMWARE_S = 6.0


class Lab:
    """Verbs on the nodes of a lab that is up; every verb may be repeated."""

    def __init__(self, paths: Paths, topology: Topology) -> None:
        self.paths = paths
        self.topology = topology
        self.network = Network(topology.nodes, taps=topology.own_kernel is not None)

    @classmethod
    def load(cls, paths: Paths | None = None) -> "Lab":
        """Return the lab that is up; LabError when there is none."""
        found = paths or Paths.from_environment()
        return cls(found, Topology.load(found))

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The lab's nodes, in order."""
        return self.topology.nodes

    def machine(self, name: str) -> Machine:
        """Return the machine that a node is."""
        node, folder = self.topology.node(name), self.paths.node(name)
        layers, kernel = self.topology.disk_layers(name), self.topology.own_kernel
        if kernel is not None:
            return UmlMachine(node, folder, layers, kernel, paths=self.paths)
        return NspawnMachine(name, folder, layers, share=self.paths.shared, kvm=self.topology.kvm)

    def disk_of(self, name: str) -> Path:
        """Return a folder with what the node wrote, readable also when it is off.

        Of a node with a kernel of its own it has what is read from outside only, see machine/uml.py.
        """
        folder = self.paths.node(self.topology.node(name).name)
        return folder / ("outside" if self.topology.own_kernel else "upper")

    def power_on(self, name: str, *, firmware_s: float = FIRMWARE_S) -> None:
        """Connect a node's links, but for those that were cut, and start it."""
        node = self.topology.node(name)
        self.network.plug(
            node, [network for network in NETWORKS if not self._cut_marker(name, network).exists()]
        )
        self.machine(name).switch_on(after_s=firmware_s)

    def cut_power(self, name: str) -> None:
        """Take a node's links down and end all of its processes at once, as pulling the plug does."""
        self.network.unplug(self.topology.node(name))
        self.machine(name).cut_power()

    def reset(self, name: str) -> None:
        """Cut a node's power and restore it."""
        self.cut_power(name)
        self.power_on(name)

    def cut_network(self, name: str, networks: Sequence[str]) -> None:
        """Unplug a node from networks until they are healed, also across a power cycle."""
        node = self.topology.node(name)
        for network in networks:
            self._cut_marker(name, network).parent.mkdir(parents=True, exist_ok=True)
            self._cut_marker(name, network).touch()
        self.network.unplug(node, networks)

    def heal_network(self, name: str, networks: Sequence[str]) -> None:
        """Plug a node back into networks."""
        node = self.topology.node(name)
        for network in networks:
            self._cut_marker(name, network).unlink(missing_ok=True)
        if self.machine(name).is_on():
            self.network.plug(node, networks)

    def partition(self, groups: Sequence[Sequence[str]]) -> None:
        """Split the nodes into groups that don't reach each other; those not named form one more."""
        named = [name for group in groups for name in group]
        for name in named:
            self.topology.node(name)
        if len(named) != len(set(named)):
            raise LabError("a node stands in two groups", hint="for example: vm-mgr-lab partition n1 / n2,n3")
        rest = [node.name for node in self.nodes if node.name not in named]
        wanted = [group for group in [*groups, rest] if group]
        self.network.partition([[self.topology.node(name) for name in group] for group in wanted])

    def heal(self) -> None:
        """Undo every fault but a lost power: partitions, cut links, hung nodes, broken BMCs."""
        self.network.heal_partition()
        for node in self.nodes:
            self.heal_network(node.name, list(NETWORKS))
            self.machine(node.name).resume()
            bmc.heal(self.paths, node)

    def execute(
        self,
        name: str,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        timeout_s: float = 60,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on a node as root, without using its network."""
        return run(
            [*self.machine(name).enter_command(), *argv], stdin=stdin, timeout_s=timeout_s, check=check
        )

    def copy_in(self, name: str, source: Path, target: str) -> None:
        """Copy a file of the host onto a node."""
        copy_through([*self.machine(name).enter_command(), "sh", "-c", 'cat > "$0"', target], source=source)

    def processes(self, name: str) -> list[int]:
        """Return the host's process ids of all that runs on a node."""
        return Cgroup(self.topology.node(name).name).pids()

    def ssh_command(self, address: str, *, user: str = "root") -> list[str]:
        """Return the command that opens a node or a guest over the admin network with the lab's key."""
        options = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "ConnectTimeout": "5",
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
        }
        flags = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
        return [
            *switch_namespace().enter_command(),
            "ssh",
            "-i",
            str(self.paths.ssh_key),
            *flags,
            f"{user}@{address}",
        ]

    def _cut_marker(self, name: str, network: str) -> Path:
        if network not in NETWORKS:
            raise LabError(f"no network {network!r}", hint="networks: " + ", ".join(NETWORKS))
        return self.paths.state / "cuts" / f"{name}-{network}"

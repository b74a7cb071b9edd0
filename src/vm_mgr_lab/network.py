"""The lab's networks: a switch and one network namespace per node, each held by a sleeping process.

Nothing is mounted and nothing appears in the host's own network: when the holding processes end, so do the
namespaces and all that is in them. In the switch namespace each network is a bridge with one port per node;
the lab itself and the BMCs have their addresses on the admin bridge. A partition moves the ports into one
bridge per group whose uplinks to the main bridge are isolated from each other: groups are cut off from one
another, the BMCs stay reachable, as they are when a management switch survives.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from vm_mgr_lab.cgroup import Cgroup
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.process import run, spawn, wait_until
from vm_mgr_lab.topology import HOST_ADDRESS, NETWORKS, SERVICE, SERVICE_PREFIX, Node, bmc_address

__all__ = ["Namespace", "Network", "cards_command", "node_namespace", "switch_namespace", "tap_name"]

CARDS = "1"  # the group of a node's network cards, see ip-link(8)


class Namespace:
    """A network namespace, held by one sleeping process in a control group of its own."""

    def __init__(self, name: str) -> None:
        self._cgroup = Cgroup(f"net-{name}")
        self.name = name

    def create(self) -> None:
        """Make the namespace; one that exists is fine."""
        if self._cgroup.is_populated():
            return
        self._cgroup.create()
        hold = [*self._cgroup.enter_command(), "unshare", "--net", "sleep", "infinity"]
        spawn(hold, console=Path("/dev/null"))
        wait_until(self._is_ready, what=f"network namespace {self.name}", timeout_s=10, interval_s=0.01)
        self.ip(["link set lo up"])

    @property
    def path(self) -> str:
        """The file that names the namespace, for nsenter and nspawn."""
        pids = self._cgroup.pids()
        if not pids:
            raise LabError(f"the lab's network {self.name} is gone", hint="vm-mgr-lab down; vm-mgr-lab up")
        return f"/proc/{pids[0]}/ns/net"

    def enter_command(self) -> list[str]:
        """Return a command prefix that runs a program in this namespace."""
        return ["nsenter", f"--net={self.path}", "--"]

    def ip(self, lines: Iterable[str]) -> None:
        """Carry out commands of ip(8), one a line, in one process."""
        text = "\n".join(lines) + "\n"
        if text.strip():
            run([*self.enter_command(), "ip", "-batch", "-"], stdin=text)

    def output_of(self, argv: Sequence[str]) -> str:
        """Run a program in the namespace and return what it printed."""
        return run([*self.enter_command(), *argv]).stdout

    def _is_ready(self) -> bool:
        pids = self._cgroup.pids()
        if not pids:
            return False
        try:
            comm = Path(f"/proc/{pids[0]}/comm").read_text().strip()
        except OSError:
            return False
        return comm == "sleep"


def switch_namespace() -> Namespace:
    """Return the namespace of the switch, the BMCs and the lab itself."""
    return Namespace("switch")


def node_namespace(name: str) -> Namespace:
    """Return the namespace that is a node's network cards."""
    return Namespace(name)


def cards_command(name: str, *, on: bool) -> list[str]:
    """Return a command that turns all network cards of a node on or off; off, they answer nothing."""
    switch = ["ip", "link", "set", "group", CARDS, "up" if on else "down"]
    return [*node_namespace(name).enter_command(), *switch]


class Network:
    """The cables between the nodes; every verb may be repeated."""

    def __init__(self, nodes: Sequence[Node], *, taps: bool) -> None:
        """Cards are taps for nodes with a kernel of their own, else one half of a veth pair."""
        self._nodes = nodes
        self._taps = taps
        self._switch = switch_namespace()

    def create(self) -> None:
        """Build the switch, the nodes' cards and their addresses; nothing is plugged in, no card is on."""
        self._switch.create()
        lines = []
        for number, network in enumerate(NETWORKS, start=1):
            # Left to itself a bridge takes the lowest address of its ports: a partition would change the
            # address of the BMCs and of the lab under the nodes' neighbour caches.
            address = f"02:00:00:00:ff:{number:02x}"
            lines += [
                f"link add name {network} address {address} type bridge forward_delay 0",
                f"link set {network} up",
            ]
        lines.append(f"address add {HOST_ADDRESS}/24 dev admin")
        lines += [f"address add {bmc_address(node)}/24 dev admin" for node in self._nodes]
        self._switch.ip(lines)
        if self._taps:
            self._create_taps()
        else:
            for node in self._nodes:
                self._create_cards(node)

    def _create_taps(self) -> None:
        """Make taps, each behind a bridge of its own: a node whose tap was once down never sends again."""
        self._switch.ip(
            [
                f"link add name {SERVICE} type bridge forward_delay 0",
                f"link set {SERVICE} up",
                f"address add {SERVICE_PREFIX}.1/24 dev {SERVICE}",
            ]
        )
        for node in self._nodes:
            for network in (*NETWORKS, SERVICE):
                port = _port(node, network)
                wire, card, tap = f"{port}-w", f"{port}-b", tap_name(node, network)
                self._switch.ip(
                    [
                        f"link add name {port} type veth peer name {wire}",
                        f"link add name {card} type bridge forward_delay 0",
                        f"link set {card} arp off up",
                        f"tuntap add dev {tap} mode tap",
                        f"link set {tap} master {card} up",
                        f"link set {wire} master {card} up",
                        f"link set {port} master {network}",
                    ]
                )
            self._switch.ip([f"link set {_port(node, SERVICE)} up"])

    def _create_cards(self, node: Node) -> None:
        cards = node_namespace(node.name)
        cards.create()
        holder = cards.path.split("/")[2]
        self._switch.ip(
            line
            for network in NETWORKS
            for line in (
                f"link add name {_port(node, network)} type veth peer name {network}0 netns {holder}",
                f"link set {_port(node, network)} master {network}",
            )
        )
        cards.ip(
            [
                "link add name br0 type bridge forward_delay 0",  # guests are bridged onto the admin network
                f"link set admin0 master br0 group {CARDS}",
                f"link set cluster0 group {CARDS}",
                "link set br0 up",
                f"address add {node.address('admin')}/24 dev br0",
                f"address add {node.address('cluster')}/24 dev cluster0",
            ]
        )

    def plug(self, node: Node, networks: Iterable[str] = NETWORKS) -> None:
        """Bring a node's links up."""
        self._switch.ip(f"link set {_port(node, network)} up" for network in networks)

    def unplug(self, node: Node, networks: Iterable[str] = NETWORKS) -> None:
        """Take a node's links down: peers see silence."""
        self._switch.ip(f"link set {_port(node, network)} down" for network in networks)

    def partition(self, groups: Sequence[Sequence[Node]]) -> None:
        """Let only the nodes of one group reach each other, on every network."""
        self.heal_partition()
        for number, group in enumerate(groups, start=1):
            for network in NETWORKS:
                island, up, down = f"{network}-p{number}", f"{network}-u{number}", f"{network}-d{number}"
                self._switch.ip(
                    [
                        f"link add name {island} type bridge forward_delay 0",
                        f"link set {island} arp off up",  # Linux would answer for the BMCs' addresses on it
                        f"link add name {up} type veth peer name {down}",
                        f"link set {up} master {island} up",
                        f"link set {down} master {network} up",
                        f"link set {down} type bridge_slave isolated on",
                        *(f"link set {_port(node, network)} master {island}" for node in group),
                    ]
                )

    def heal_partition(self) -> None:
        """Put every port back into its network's one bridge."""
        self._switch.ip(
            f"link set {_port(node, network)} master {network}"
            for node in self._nodes
            for network in NETWORKS
        )
        present = {
            line.split(":")[1].strip().split("@")[0]
            for line in self._switch.output_of(["ip", "-oneline", "link", "show"]).splitlines()
        }
        islands = [name for name in present if any(name.startswith(f"{network}-p") for network in NETWORKS)]
        uplinks = [name for name in present if any(name.startswith(f"{network}-u") for network in NETWORKS)]
        self._switch.ip(f"link delete {name}" for name in [*uplinks, *islands])

    def links(self) -> dict[str, dict[str, bool]]:
        """Return for each node and network whether its link is up."""
        shown = self._switch.output_of(["ip", "-oneline", "link", "show"])
        up = {line.split(":")[1].strip().split("@")[0] for line in shown.splitlines() if ",UP" in line}
        return {
            node.name: {network: _port(node, network) in up for network in NETWORKS} for node in self._nodes
        }


def tap_name(node: Node, network: str) -> str:
    """Return the tap that a node with a kernel of its own opens as its card on a network."""
    return f"{_port(node, network)}-t"


def _port(node: Node, network: str) -> str:
    return f"{node.name}-{network}"

"""VMs leave a node whose bridge has lost its uplink, and never start where it is missing: the real cluster.

The bridge is one of the test's own, on a cable that can be pulled; nobody else's VMs are on it.
"""

import itertools
import json
from collections.abc import Iterator

import pytest

from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until

from .guest import DEFINITION, QUICK, at, clean, create, node_of, shown
from .test_life import shell, vm_mgr

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

# A look every 10 s, 15 s of dampening, and a VM that is stopped and started.
TOLD_S, MOVED_S = 60, 120
# A bridge that has flapped is trusted later: each test has one that no node has seen before.
NUMBERS = itertools.count()
# nspawn gives a machine whose network was made before it the /sys of the host; no real machine has that.
OWN_SYS = (
    "mkdir -p /run/own-sys; mount -t sysfs -o ro sysfs /run/own-sys; "
    "for part in devices class; do mount --bind /run/own-sys/$part /sys/$part; done; "
    "test -e /sys/class/net/cluster0"
)
HOSTS_SYS = "for one in /sys/class /sys/devices /run/own-sys; do umount $one; done; rmdir /run/own-sys"


class Bridge:
    """A bridge with a cable, of which far is the end in the switch."""

    def __init__(self) -> None:
        number = next(NUMBERS)
        self.name, self.up, self.far = f"brp{number}", f"brp{number}-up", f"brp{number}-far"
        self.missing = f"the bridge {self.name} is missing"
        self.cut = f"the bridge {self.name} has no uplink"
        self.make = (
            f"ip link add {self.name} type bridge forward_delay 0; "
            f"ip link add {self.up} type veth peer name {self.far}; "
            f"ip link set {self.up} master {self.name}; "
            f"for one in {self.name} {self.up} {self.far}; do ip link set $one up; done"
        )
        self.unmake = f"for one in {self.name} {self.up}; do ip link del $one 2>/dev/null || true; done"


UPLINKS = "crm_resource --force --resource vm-mgr-node-agent"


def hypervisors(lab: Lab) -> list[str]:
    return [node.name for node in lab.nodes if node.role == "hypervisor"]


def everywhere(lab: Lab, line: str) -> None:
    for node in hypervisors(lab):
        at(lab, node, line)


@pytest.fixture(scope="module", autouse=True)
def own_sys(lab: Lab) -> Iterator[None]:
    everywhere(lab, OWN_SYS)
    yield
    everywhere(lab, HOSTS_SYS)


@pytest.fixture
def bridge(lab: Lab) -> Iterator[Bridge]:
    """Give every node the bridge, and a VM that asks for it and is not started: now all nodes tell of it."""
    bridge = Bridge()
    with clean(lab):
        everywhere(lab, bridge.make)
        try:
            shell(lab, f"{UPLINKS} --set-parameter uplinks --parameter-value {bridge.name}={bridge.up}")
            shell(lab, "crm_resource --wait --timeout 120s")
            definition = DEFINITION.replace("br0", bridge.name)
            lab.execute("n1", ["sh", "-c", "cat > /root/cmd.xml"], stdin=definition)
            create(lab, "cmd2", "ceph", *QUICK, "--nostart")
            well = dict.fromkeys(hypervisors(lab), "2")
            wait_until(lambda: answers(lab, bridge) == well, what="all answers", timeout_s=TOLD_S)
            yield bridge
        finally:
            shell(lab, f"{UPLINKS} --delete-parameter uplinks")
            everywhere(lab, bridge.unmake)


def answers(lab: Lab, bridge: Bridge) -> dict[str, str]:
    """Give what the cluster goes by: that which is in its status, not what is still dampened."""
    look = "cibadmin --query --xpath '//node_state' 2>/dev/null || true"
    found: dict[str, str] = {}
    node = ""
    for line in shell(lab, look).splitlines():
        if "<node_state " in line:
            node = line.partition('uname="')[2].partition('"')[0]
        if f'name="vm-mgr-bridge-{bridge.name}"' in line:
            found[node] = line.partition('value="')[2].partition('"')[0]
    return found


def pid(lab: Lab, name: str, node: str) -> str:
    return at(lab, node, f"cat /run/libvirt/qemu/{name}.pid").strip()


def against(lab: Lab, name: str) -> dict[str, str]:
    return {one["node"]: one["reason"] for one in shown(lab, name)["obstacles"]}


def test_vm_leaves_a_node_whose_uplink_is_lost_and_stays_where_it_is_then(lab: Lab, bridge: Bridge) -> None:
    create(lab, "cmd1", "ceph", *QUICK, "--preferred-host", "n2")
    assert node_of(lab, "cmd1") == "n2"
    complaints = shell(lab, "crm_verify --live-check -V 2>&1 | grep -E 'vm-mgr-(fits|uplink|node)' || true")
    assert complaints == "", "Pacemaker has something against the rules"
    at(lab, "n2", f"ip link set {bridge.far} down")
    wait_until(
        lambda: node_of(lab, "cmd1") not in ("", "n2"),
        what="cmd1 to leave n2",
        timeout_s=MOVED_S,
        interval_s=1,
    )
    home = node_of(lab, "cmd1")
    assert against(lab, "cmd1") == {"n2": bridge.cut}
    assert bridge.cut in vm_mgr(lab, "show", "cmd1")
    before = pid(lab, "cmd1", home)
    at(lab, "n2", f"ip link set {bridge.far} up")
    wait_until(lambda: against(lab, "cmd1") == {}, what="n2 to be as good as the others", timeout_s=TOLD_S)
    shell(lab, "crm_resource --wait --timeout 120s")
    assert (node_of(lab, "cmd1"), pid(lab, "cmd1", home)) == (home, before)


def test_fault_of_the_switch_moves_and_stops_nothing(lab: Lab, bridge: Bridge) -> None:
    create(lab, "cmd1", "ceph", *QUICK)
    home = node_of(lab, "cmd1")
    before = pid(lab, "cmd1", home)
    everywhere(lab, f"ip link set {bridge.far} down")
    wait_until(
        lambda: set(answers(lab, bridge).values()) == {"1"}, what="all nodes to be cut off", timeout_s=TOLD_S
    )
    shell(lab, "crm_resource --wait --timeout 120s")
    assert (node_of(lab, "cmd1"), pid(lab, "cmd1", home)) == (home, before)
    assert set(against(lab, "cmd1")) == set(hypervisors(lab))
    # A restart finds no better node, and that is no failure.
    vm_mgr(lab, "restart", "cmd1")
    assert shown(lab, "cmd1")["failures"] == []


def test_short_flap_moves_nothing(lab: Lab, bridge: Bridge) -> None:
    create(lab, "cmd1", "ceph", *QUICK)
    home = node_of(lab, "cmd1")
    before = pid(lab, "cmd1", home)
    at(lab, home, f"ip link set {bridge.far} down")
    seen = f"attrd_updater --name vm-mgr-bridge-{bridge.name} --query | grep -q 'value=\"1\"'"
    wait_until(
        lambda: lab.execute(home, ["sh", "-c", seen], check=False).returncode == 0,
        what="the node to see it",
        timeout_s=TOLD_S,
    )
    at(lab, home, f"ip link set {bridge.far} up")
    wait_until(
        lambda: lab.execute(home, ["sh", "-c", seen], check=False).returncode != 0,
        what="the node to see that it is back",
        timeout_s=TOLD_S,
    )
    assert answers(lab, bridge)[home] == "2"
    assert (node_of(lab, "cmd1"), pid(lab, "cmd1", home)) == (home, before)


def test_vm_never_starts_where_its_bridge_is_missing(lab: Lab, bridge: Bridge) -> None:
    at(lab, "n3", bridge.unmake)
    wait_until(lambda: answers(lab, bridge)["n3"] == "0", what="n3 to miss it", timeout_s=TOLD_S)
    create(lab, "cmd1", "ceph", *QUICK, "--preferred-host", "n3")
    found = shown(lab, "cmd1")
    assert found["node"] not in ("", "n3")
    assert found["failures"] == []
    assert against(lab, "cmd1") == {"n3": bridge.missing}
    # libvirt may have named it first.
    refused = lab.execute("n1", ["vm-mgr", "migrate", "cmd1", "n3"], check=False, timeout_s=180)
    assert refused.returncode in (5, 10), refused.stderr
    assert bridge.missing in refused.stderr
    at(lab, "n3", bridge.make)
    wait_until(lambda: against(lab, "cmd1") == {}, what="n3 to have it", timeout_s=TOLD_S)


def test_vm_that_ignores_its_uplink_stays(lab: Lab, bridge: Bridge) -> None:
    create(lab, "cmd1", "ceph", *QUICK, "--uplink", "ignore")
    home = node_of(lab, "cmd1")
    before = pid(lab, "cmd1", home)
    at(lab, home, f"ip link set {bridge.far} down")
    wait_until(lambda: answers(lab, bridge)[home] == "1", what=f"{home} to be cut off", timeout_s=TOLD_S)
    shell(lab, "crm_resource --wait --timeout 120s")
    assert (node_of(lab, "cmd1"), pid(lab, "cmd1", home)) == (home, before)
    assert json.loads(vm_mgr(lab, "show", "cmd1", "--output", "json"))["placement"]["follow_uplink"] is False


def test_node_that_does_not_answer_any_more_is_not_left(lab: Lab, bridge: Bridge) -> None:
    create(lab, "cmd1", "ceph", *QUICK)
    home = node_of(lab, "cmd1")
    before = pid(lab, "cmd1", home)
    role = "crm_resource --resource vm-mgr-node --meta --set-parameter target-role --parameter-value"
    try:
        shell(lab, f"{role} Stopped")
        wait_until(lambda: answers(lab, bridge) == {}, what="the answers to be gone", timeout_s=TOLD_S)
        shell(lab, "crm_resource --wait --timeout 120s")
        assert (node_of(lab, "cmd1"), pid(lab, "cmd1", home)) == (home, before)
    finally:
        shell(lab, "crm_resource --resource vm-mgr-node --meta --delete-parameter target-role")
    wait_until(
        lambda: set(answers(lab, bridge).values()) == {"2"}, what="the answers to be back", timeout_s=TOLD_S
    )

"""The lab's own verbs do what they say, and wrong ones are refused in one line."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vm_mgr_lab import bmc
from vm_mgr_lab.bmc import USER, ask_password
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.network import switch_namespace
from vm_mgr_lab.process import run, wait_until
from vm_mgr_lab.topology import NETWORKS, bmc_address
from vm_mgr_lab.up import wait_ready

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


def reaches(lab: Lab, source: str, target: str, network: str) -> bool:
    address = lab.topology.node(target).address(network)
    return lab.execute(source, ["ping", "-c", "1", "-W", "1", address], check=False).returncode == 0


def wait_reaches(lab: Lab, source: str, target: str, network: str) -> None:
    """A link that comes up is noticed by the kernel's link watch up to a second later."""
    wait_until(
        lambda: reaches(lab, source, target, network), what=f"{source} to reach {target}", timeout_s=10
    )


def ipmi(lab: Lab, node: str, *command: str) -> subprocess.CompletedProcess[str]:
    found = lab.topology.node(node)
    tool = [
        "ipmitool",
        "-I",
        "lanplus",
        "-N",
        "1",
        "-R",
        "1",
        "-H",
        bmc_address(found),
        "-U",
        USER,
        "-E",
        "chassis",
        "power",
    ]
    password = ask_password(lab.paths, found)
    return run(
        [*switch_namespace().enter_command(), *tool, *command], check=False, env={"IPMI_PASSWORD": password}
    )


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vm_mgr_lab.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(autouse=True, scope="module")
def nobody_is_fenced(lab: Lab) -> Iterator[None]:
    """Let these tests disturb nodes without the cluster shooting them meanwhile."""
    lab.execute("n1", ["crm_attribute", "--name", "stonith-enabled", "--update", "false"])
    yield
    wait_ready(lab, print)
    lab.execute("n1", ["crm_attribute", "--name", "stonith-enabled", "--update", "true"])
    wait_ready(lab, print)


@pytest.fixture(autouse=True)
def healed(lab: Lab) -> Iterator[None]:
    yield
    lab.heal()
    for node in lab.nodes:
        lab.power_on(node.name)
    wait_ready(lab, print)


def test_nodes_reach_each_other_on_both_networks(lab: Lab) -> None:
    assert all(reaches(lab, "n1", "n2", network) for network in NETWORKS)


def test_short_cut_of_one_network_leaves_the_other(lab: Lab) -> None:
    lab.cut_network("n1", ["cluster"])
    assert (reaches(lab, "n1", "n2", "admin"), reaches(lab, "n1", "n2", "cluster")) == (True, False)
    lab.heal_network("n1", ["cluster"])
    wait_reaches(lab, "n1", "n2", "cluster")


def test_short_partition_separates_groups_but_not_from_bmcs(lab: Lab) -> None:
    lab.partition([["n1"], ["n2", "n3"]])
    wait_reaches(lab, "n2", "n3", "cluster")
    ping_bmc = ["ping", "-c", "1", "-W", "1", bmc_address(lab.nodes[0])]
    for node in ("n1", "n2"):
        wait_until(
            lambda n=node: lab.execute(n, ping_bmc, check=False).returncode == 0, what="BMC", timeout_s=10
        )
    across = [reaches(lab, "n1", "n2", network) for network in NETWORKS]
    lab.heal()
    assert across == [False, False]
    wait_reaches(lab, "n1", "n2", "cluster")


def test_pause_hangs_a_node_and_resume_lets_it_go_on(lab: Lab) -> None:
    lab.machine("n3").pause()
    silent = not reaches_from_switch(lab, "n3")
    lab.machine("n3").resume()
    assert lab.execute("n3", ["echo", "alive"]).stdout == "alive\n"
    # The kernel of a container answers pings also when its processes hang; ssh must not.
    assert silent


def reaches_from_switch(lab: Lab, node: str) -> bool:
    address = lab.topology.node(node).address("admin")
    return run([*lab.ssh_command(address), "true"], check=False, timeout_s=20).returncode == 0


def test_ipmi_cuts_and_restores_power(lab: Lab) -> None:
    assert "is on" in ipmi(lab, "n3", "status").stdout
    assert ipmi(lab, "n3", "off").returncode == 0
    assert not lab.processes("n3")
    assert "is off" in ipmi(lab, "n3", "status").stdout
    assert ipmi(lab, "n3", "on").returncode == 0
    wait_until(lab.machine("n3").is_booted, what="n3", timeout_s=180)


def test_node_in_its_firmware_is_silent(lab: Lab) -> None:
    lab.reset("n3")
    assert not any(reaches(lab, "n1", "n3", network) for network in NETWORKS)
    for network in NETWORKS:
        wait_reaches(lab, "n1", "n3", network)


def test_ipmi_refuses_a_wrong_password(lab: Lab) -> None:
    tool = [
        "ipmitool",
        "-I",
        "lanplus",
        "-N",
        "1",
        "-R",
        "1",
        "-H",
        bmc_address(lab.nodes[0]),
        "-U",
        USER,
        "-P",
        "wrong",
    ]
    done = run([*switch_namespace().enter_command(), *tool, "chassis", "power", "status"], check=False)
    assert done.returncode != 0


def test_broken_bmc_is_silent_until_healed(lab: Lab) -> None:
    bmc.break_down(lab.nodes[0])
    assert ipmi(lab, "n1", "status").returncode != 0
    bmc.heal(lab.paths, lab.nodes[0])
    wait_until(lambda: ipmi(lab, "n1", "status").returncode == 0, what="the BMC", timeout_s=20)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["power", "n9", "off"], "n9"),
        (["exec", "n9", "--", "true"], "n9"),
        (["partition", "n1", "/", "n1"], "two groups"),
        (["up"], "is up already"),
    ],
)
def test_wrong_use_is_one_line_and_a_hint(lab: Lab, arguments: list[str], names: str) -> None:
    done = command(*arguments)
    assert done.returncode == 1
    first, *rest = done.stderr.splitlines()
    assert first.startswith("vm-mgr-lab: error: ")
    assert names in first
    assert len(rest) == 1
    assert rest[0].startswith("hint: ")


def test_exec_passes_the_exit_status_on(lab: Lab) -> None:
    assert command("exec", "n1", "--", "sh", "-c", "exit 7").returncode == 7


def test_ssh_opens_what_has_an_address_there(lab: Lab) -> None:
    done = command("ssh", "192.0.2.11", "hostname; exit 7")
    assert (done.stdout.strip(), done.returncode) == ("n1", 7)


def test_host_has_none_of_the_labs_interfaces_and_mounts(lab: Lab) -> None:
    ours = {"br0", *NETWORKS, *(f"{node.name}-{network}" for node in lab.nodes for network in NETWORKS)}
    assert not ours & {path.name for path in Path("/sys/class/net").iterdir()}
    assert str(lab.paths.state) not in Path("/proc/mounts").read_text()

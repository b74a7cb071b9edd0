"""Nodes with a kernel of their own, beside the containers: what a machine can, and what faults do to it."""

import contextlib
from collections.abc import Iterator

import pytest

from vm_mgr_lab import up as bring
from vm_mgr_lab.cgroup import Cgroup
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.paths import Paths
from vm_mgr_lab.process import wait_until

from .conftest import one_at_a_time

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

BACK_S = 180
MOST_MIB = 600
REQUEST = bring.Request(
    hypervisors=2,
    observers=1,
    storages=("drbd",),
    own_kernel=True,
    bare=True,
    disk_mib=512,
    shared_disks_mib=(64,),
)


@pytest.fixture
def own(lab: Lab, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Bring it up beside the containers, which must not feel it."""
    before = up_since(lab)
    monkeypatch.setenv("VM_MGR_LAB_STATE", f"{paths.state}-own")
    mine = Paths.from_environment()
    with one_at_a_time(mine):
        bring.down(mine, print)
        made = bring.up(mine, REQUEST, print)
    yield made
    with one_at_a_time(mine):
        bring.down(mine, print)
    monkeypatch.undo()
    assert up_since(lab) == before


def shell(lab: Lab, node: str, command: str) -> str:
    return lab.execute(node, ["sh", "-ec", command]).stdout.strip()


def boot_id(lab: Lab, node: str) -> str:
    """Return it, or nothing while the node can't be asked."""
    with contextlib.suppress(LabError):
        return shell(lab, node, "cat /proc/sys/kernel/random/boot_id")
    return ""


def up_since(lab: Lab) -> list[str]:
    """Say since when each node of containers is up; all have the host's boot id."""
    return [shell(lab, node.name, "stat -c %Y /proc/1") for node in lab.nodes]


def reaches(lab: Lab, node: str, address: str) -> bool:
    return lab.execute(node, ["ping", "-c", "1", "-W", "2", address], check=False).returncode == 0


def pss_mib(node: str) -> float:
    """Add up what all processes of a node have of the host's memory, shared pages in parts."""
    total = 0
    for pid in Cgroup(node).pids():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as shown:  # noqa: PTH123
            total += sum(int(line.split()[1]) for line in shown if line.startswith("Pss:"))
    return total / 1024


def test_node_is_a_machine_of_its_own(own: Lab) -> None:
    n1, n2 = own.nodes[0], own.nodes[1]
    assert shell(own, "n1", "modprobe drbd && head -1 /proc/drbd").startswith("version: ")
    shell(own, "n1", "modprobe softdog")
    assert [n for n in ("n1", "n2") if "softdog" in shell(own, n, "cat /proc/modules")] == ["n1"]
    disks = shell(own, "n1", "ls /dev/disk/by-id").split()
    assert [name for name in disks if name.startswith("lab-")] == ["lab-own", "lab-shared-ubdc"]
    owned = "su -s /bin/sh hacluster -c 'touch /tmp/mine' && stat -c %U /tmp/mine"
    assert shell(own, "n1", owned) == "hacluster"
    assert own.execute("n1", ["printf", "%s|", "a  b", "it's", "$HOME"]).stdout == "a  b|it's|$HOME|"
    assert max(pss_mib(node.name) for node in own.nodes) <= MOST_MIB

    # What one writes to a shared disk, the others read; a disk of its own is no other's.
    shell(own, "n1", "echo shared | dd of=/dev/disk/by-id/lab-shared-ubdc oflag=sync status=none")
    shell(own, "n1", "echo own | dd of=/dev/disk/by-id/lab-own oflag=sync status=none")
    assert shell(own, "n2", "head -c 6 /dev/disk/by-id/lab-shared-ubdc") == "shared"
    assert shell(own, "n2", "head -c 3 /dev/disk/by-id/lab-own | tr -d '\\0'") == ""

    # A cut cable: the lab still reaches the node; plugged in, the card works again.
    assert reaches(own, "n1", n2.address("cluster"))
    own.cut_network("n2", ["cluster"])
    assert not reaches(own, "n2", n1.address("cluster"))
    assert reaches(own, "n2", n1.address("admin"))
    own.heal_network("n2", ["cluster"])
    wait_until(lambda: reaches(own, "n2", n1.address("cluster")), what="the cable", timeout_s=BACK_S)

    # A power cut: what was synced is there afterwards, what ran is not; a reboot in place; a power-off.
    first = boot_id(own, "n2")
    shell(own, "n2", "echo kept >/root/kept; sync")
    own.cut_power("n2")
    assert not own.machine("n2").is_on()
    own.power_on("n2", firmware_s=0)
    wait_until(lambda: boot_id(own, "n2") not in ("", first), what="n2 to boot", timeout_s=BACK_S)
    assert shell(own, "n2", "cat /root/kept") == "kept"
    second = boot_id(own, "n2")
    own.execute("n2", ["systemctl", "reboot", "--no-block"], check=False)
    wait_until(lambda: boot_id(own, "n2") not in ("", second), what="n2 to reboot", timeout_s=BACK_S)
    own.execute("n2", ["systemctl", "poweroff", "--no-block"], check=False)
    wait_until(lambda: not own.machine("n2").is_on(), what="n2 to power off", timeout_s=BACK_S)

    # A machine that hangs runs nothing, and goes on where it was.
    own.machine("n1").pause()
    with pytest.raises(LabError, match="no answer"):
        own.execute("n1", ["true"], timeout_s=3)
    own.machine("n1").resume()
    wait_until(lambda: boot_id(own, "n1") != "", what="n1 to go on", timeout_s=BACK_S)

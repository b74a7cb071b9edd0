"""A VM depends on a promotable clone of its own; locks are in the CIB. No storage of the lab needs it yet.

The clone is Pacemaker's ocf:pacemaker:Stateful, which promotes itself and keeps no data.
"""

from collections.abc import Iterator

import pytest
from lxml import etree

from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until

from .guest import QUICK, at, clean, create, node_of
from .test_life import shell, vm_mgr

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

DISK = "vm-mgr-disk-cmd1..test"
CLUSTER_S = 120
# What enabling a VM does for a storage that has such a disk for each.
DEPEND = """
from vm_mgr.model.resource import Clone, Dependency, DiskResource, Role, disk_id
from vm_mgr.wiring import RealEnv
meta = {"clone-max": "2", "promoted-max": "1", "interleave": "true"}
disk = DiskResource(disk_id("cmd1", "test"), "ocf:pacemaker:Stateful", clone=Clone.PROMOTABLE, meta=meta)
cluster = RealEnv().cluster
vm = cluster.configured("cmd1").vm
needs = (*vm.depends_on, Dependency(disk.id, Role.PROMOTED))
cluster.reconfigure(vm._replace(disks=(disk,), depends_on=needs))
found = cluster.configured("cmd1").vm
assert found.disks == (disk,), found.disks
assert Dependency(disk.id, Role.PROMOTED) in found.depends_on, found.depends_on
"""
LOCK = """
import sys, time
from vm_mgr.errors import BusyError
from vm_mgr.wiring import RealEnv
try:
    with RealEnv().cib_intent_log.lock("cmd1"):
        print("locked", flush=True)
        time.sleep(float(sys.argv[1]))
except BusyError as error:
    print("busy", error)
"""
HOLDER = "vm-mgr-test-lock"


def roles(lab: Lab, disk: str = DISK) -> dict[str, str]:
    """Give node → role of each instance that runs."""
    mon = etree.fromstring(shell(lab, "crm_mon -1 --output-as=xml").encode())
    found = mon.find(f"resources/clone[@id='{disk}']")
    return {
        node.get("name", ""): one.get("role", "")
        for one in (found.iter("resource") if found is not None else ())
        for node in one.iterfind("node")
    }


def promoted(lab: Lab, disk: str = DISK) -> str:
    return next((node for node, role in roles(lab, disk).items() if role == "Promoted"), "")


@pytest.fixture
def vm(lab: Lab) -> Iterator[str]:
    """Give a stopped VM that depends on its own promotable clone."""
    with clean(lab):
        create(lab, "cmd1", "ceph", *QUICK, "--nostart")
        lab.execute("n1", ["python3", "-P", "-"], stdin=DEPEND)
        wait_until(lambda: promoted(lab) != "", what="a promoted instance", timeout_s=CLUSTER_S)
        yield "cmd1"


def test_vm_runs_and_moves_with_its_promoted_disk(lab: Lab, vm: str) -> None:
    assert shell(lab, "crm_verify --live-check -V 2>&1 | grep vm-mgr-disk || true") == ""
    vm_mgr(lab, "start", vm)
    home = node_of(lab, vm)
    assert home == promoted(lab)
    assert sorted(roles(lab).values()) == ["Promoted", "Unpromoted"]
    vm_mgr(lab, "migrate", vm)
    shell(lab, f"crm_resource --wait --timeout {CLUSTER_S}s")
    assert node_of(lab, vm) not in ("", home)
    assert node_of(lab, vm) == promoted(lab)
    assert len(roles(lab)) == 2


def test_vm_follows_when_its_disk_has_to_be_promoted_elsewhere(lab: Lab, vm: str) -> None:
    vm_mgr(lab, "start", vm)
    home = node_of(lab, vm)
    shell(lab, f"crm_resource --ban --resource {DISK} --node {home} --promoted")
    try:
        wait_until(
            lambda: node_of(lab, vm) not in ("", home), what=f"{vm} to leave {home}", timeout_s=CLUSTER_S
        )
        assert node_of(lab, vm) == promoted(lab)
    finally:
        shell(lab, f"crm_resource --clear --resource {DISK}")


def test_renamed_vm_takes_its_disk_along_and_a_disabled_one_has_none(lab: Lab, vm: str) -> None:
    vm_mgr(lab, "rename", vm, "--new_name", "cmd2")
    new = DISK.replace("cmd1", "cmd2")
    wait_until(lambda: promoted(lab, new) != "", what="the renamed clone", timeout_s=CLUSTER_S)
    assert roles(lab) == {}
    vm_mgr(lab, "start", "cmd2")
    assert node_of(lab, "cmd2") == promoted(lab, new)
    vm_mgr(lab, "disable", "cmd2")
    assert "vm-mgr-disk-" not in shell(lab, "cibadmin --query --scope configuration")
    shell(lab, f"crm_resource --wait --timeout {CLUSTER_S}s")
    assert shell(lab, "crm_mon -1 | grep vm-mgr-disk || true") == ""


def test_lock_in_the_cib_ends_with_its_process_on_another_node(lab: Lab) -> None:
    def tried() -> str:
        return lab.execute("n1", ["python3", "-P", "-", "0"], stdin=LOCK).stdout

    lab.execute("n2", ["sh", "-c", "cat > /run/lock.py"], stdin=LOCK)
    at(lab, "n2", f"systemd-run --unit {HOLDER} /usr/bin/python3 -P /run/lock.py 300")
    try:
        wait_until(lambda: "busy" in tried(), what="the lock of n2", timeout_s=180)
        at(lab, "n2", f"systemctl kill --signal KILL {HOLDER}")
        wait_until(lambda: "locked" in tried(), what="the end of the lock", timeout_s=180)
    finally:
        at(
            lab,
            "n2",
            f"systemctl stop {HOLDER} 2>/dev/null; systemctl reset-failed {HOLDER} 2>/dev/null; true",
        )
    assert "vm-mgr-locks" not in shell(lab, "cibadmin --query --scope crm_config")

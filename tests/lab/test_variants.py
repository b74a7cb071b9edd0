"""A cluster of another shape and release: two hypervisors with an observer, on Debian 12.

It comes first: the lab of its worker is brought up after it.
"""

from pathlib import Path

import pytest

from vm_mgr_lab import demo
from vm_mgr_lab import up as bring
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.paths import Paths

from .conftest import one_at_a_time
from .test_contracts import check_contracts

pytestmark = [pytest.mark.lab, pytest.mark.turns("releases"), pytest.mark.timeout(900)]

VM = "variant"
MAC = 235


def survive_power_loss(lab: Lab) -> demo.Failover:
    demo.create_guest(lab, VM, print, mac_byte=MAC, options=("--enable-live-migration",))
    seen = demo.power_loss(lab, VM, print, mac_byte=MAC)
    print("\n".join(demo.tell(seen, VM)))
    bring.wait_ready(lab, print)
    return seen


def test_debian_12_with_two_hypervisors_and_an_observer(
    paths: Paths, keeps_lab: bool, tmp_path: Path
) -> None:
    if keeps_lab:
        pytest.skip("VM_MGR_LAB_KEEP: the lab is kept")
    with one_at_a_time(paths):
        bring.down(paths, print)
    try:
        with one_at_a_time(paths):
            lab = bring.up(paths, bring.Request(hypervisors=2, observers=1, suite="bookworm"), print)
        assert [node.role for node in lab.nodes] == ["hypervisor", "hypervisor", "observer"]
        assert lab.execute("n1", ["cat", "/etc/debian_version"]).stdout.startswith("12.")
        check_contracts(lab, tmp_path, mine=1)
        seen = survive_power_loss(lab)
        assert seen.problems == ()
        assert {seen.victim, seen.survivor} == {"n1", "n2"}
        moved = lab.execute("n1", ["vm-mgr", "migrate", VM], timeout_s=180)
        assert "warning" not in moved.stderr
        refused = lab.execute("n1", ["vm-mgr", "migrate", VM, "n3"], check=False)
        assert refused.returncode == 2
        assert "n3 is an observer" in refused.stderr
        rules = lab.execute("n1", ["cibadmin", "--query", "--xpath", "//rsc_location"]).stdout
        own = [line for line in rules.splitlines() if f'rsc="{VM}"' in line]
        assert all(f"{VM}..bridge-br0" in line for line in own), (
            "one rule for all VMs keeps them off observers"
        )
        # The observer does not mount the directory: what is in Ceph is listed all the same.
        listed = lab.execute("n3", ["vm-mgr", "list"], check=False)
        assert VM in listed.stdout
        assert "not mounted" in listed.stderr
        demo.remove_guest(lab, VM, node="n1")
    finally:
        with one_at_a_time(paths):
            bring.down(paths, print)

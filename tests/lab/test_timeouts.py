"""`vm-mgr timeouts` on the real cluster: what is deployed fits together, and what is changed is found."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from vm_mgr_lab.lab import Lab

from .guest import QUICK, clean, create
from .test_life import shell, vm_mgr

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]


@pytest.fixture(autouse=True)
def around(lab: Lab) -> Iterator[None]:
    with clean(lab, ("cmd1", "cmd2")):
        yield


def report(lab: Lab, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(vm_mgr(lab, "timeouts", *words, "--output", "json"))
    return found


def test_deployed_cluster_is_consistent_and_all_of_it_is_read(lab: Lab) -> None:
    create(lab, "cmd1", "ceph", *QUICK)
    found = report(lab, "cmd1", "--check")
    assert (found["inconsistencies"], found["unknown"]) == ([], [])
    assert (
        found["totem"]["token"]
        == int(shell(lab, "corosync-cmapctl -g runtime.config.totem.token").split()[-1]) / 1000
    )
    grace = shell(lab, "ceph tell osd.0 config get osd_heartbeat_grace --format json")
    assert found["ceph"]["osd_heartbeat_grace"] == float(json.loads(grace)["osd_heartbeat_grace"])
    assert found["ceph"]["osd_hosts"] == len(lab.nodes)
    (vm,) = found["vms"]
    assert 5 < vm["node_lost"]["typical_s"] < 20 < vm["node_lost"]["worst_s"]
    assert [phase["name"] for phase in vm["qemu_died"]["phases"]] == [
        "noticed",
        "stopped",
        "storage released",
        "started",
    ]
    assert "cmd1" in vm_mgr(lab, "timeouts")
    vm_mgr(lab, "timeouts", "nosuchvm", code=3)


def test_vm_in_the_shared_directory_has_a_phase_that_nobody_knows(lab: Lab) -> None:
    create(lab, "cmd2", "vms", *QUICK)
    (vm,) = report(lab, "cmd2")["vms"]
    assert vm["timeouts"]["needs"] == "vm-mgr-dir-vms"
    assert vm["node_lost"]["typical_s"] is None


def test_change_that_contradicts_the_rest_is_found(lab: Lab) -> None:
    create(lab, "cmd1", "ceph", *QUICK)
    vm_mgr(lab, "set", "cmd1", "--stop-timeout", "600")
    assert [(one["code"], one["subject"]) for one in report(lab, "cmd1")["inconsistencies"]] == [
        ("stop-and-fencing", "cmd1")
    ]
    try:
        shell(lab, "ceph config set client rados_osd_op_timeout 5")
        assert "io-timeout" in [one["code"] for one in report(lab, "cmd1")["inconsistencies"]]
        assert "hint: " in vm_mgr(lab, "timeouts", "--check", code=5)
    finally:
        shell(lab, "ceph config rm client rados_osd_op_timeout")
    vm_mgr(lab, "timeouts", "--check")

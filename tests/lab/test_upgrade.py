"""A cluster that runs VMs of an earlier version is upgraded by the deployment, and no VM notices."""

import base64
import gzip
import hashlib
import json
import lzma
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from vm_mgr_lab.deployment import deploy
from vm_mgr_lab.history import qemu_nodes
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until

from .guest import QUICK, at, clean, create, node_of
from .test_life import shell, vm_mgr

pytestmark = [pytest.mark.lab, pytest.mark.turns("releases"), pytest.mark.timeout(1200)]

HOME = "/usr/lib/vm-mgr"
RECORDINGS = Path(__file__).parents[1] / "recordings"
FIRST, LATER = "vm-mgr-0.1", "vm-mgr-b989f9c"
# Each with live migration, so that their operations are those of a VM that can be moved.
VMS = {"cmd1": "ceph", "cmd2": "vms"}
MONITOR_S = 10
# The command and the hook as the earlier version's deployment wrote them; its install.sh knows the rest.
COMMAND = """#!/usr/bin/python3 -IS
import sys
sys.path[:0] = ["/usr/lib/vm-mgr", "/usr/lib/python3/dist-packages"]
from vm_mgr.cli import main
sys.exit(main())
"""
HOOK = """#!/bin/sh
case "$2/$3" in prepare/begin | migrate/begin) ;; *) exit 0 ;; esac
[ -e /usr/lib/vm-mgr/vm_mgr/ocf/guard.py ] || exit 0
PYTHONPATH=/usr/lib/vm-mgr exec /usr/bin/python3 -P -m vm_mgr.ocf.guard "$@"
"""
# What this version has and the earlier one had not.
ALERTS = "vm-mgr-alerts.socket vm-mgr-alerts.service"
DROPINS = "system.slice.d/vm-mgr.conf libvirtd.service.d/vm-mgr-protection.conf"


def install_later(lab: Lab) -> None:
    """Put a version on every node that knows versions side by side, as its own deployment did."""
    archive, script = recorded(LATER)
    name = hashlib.sha256(base64.b64decode(archive)).hexdigest()[:16]
    for node in lab.nodes:
        lab.execute(node.name, ["sh", "-c", script], stdin=archive, timeout_s=120)
        at(lab, node.name, f"sh {HOME}/versions/{name}/entry/exchange.sh")
    assert in_use(lab) == f"versions/{name}"


def recorded(version: str) -> tuple[str, str]:
    """Give a recorded version as its deployment sends it, and the script that installs it."""
    file = RECORDINGS / f"{version}.tar.xz"
    with tarfile.open(file) as archive:
        member = archive.extractfile("install.sh")
        assert member is not None
        script = member.read().decode()
    packed = gzip.compress(lzma.decompress(file.read_bytes()), mtime=0)
    return base64.b64encode(packed).decode(), script


def in_use(lab: Lab) -> str:
    """Tell which version the first node uses; the first one has no name."""
    return shell(lab, f"readlink {HOME}/current || true").strip()


def install_first(lab: Lab) -> None:
    """Put the first version on every node as its own deployment did, and take away what came later."""
    archive, script = recorded(FIRST)
    shell(lab, "cibadmin --delete --scope alerts --xml-text '<alert id=\"vm-mgr-alert\"/>'")
    for later in ("//rsc_location[@rsc='vm-mgr-node']", "//clone[@id='vm-mgr-node']"):
        shell(lab, f'cibadmin --delete-all --force --xpath "{later}"')
    shell(lab, "crm_resource --wait --timeout 60s")
    for node in lab.nodes:
        done = lab.execute(node.name, ["sh", "-c", script], stdin=archive, timeout_s=120)
        assert done.stdout == "changed\n"
        away = f"systemctl disable --quiet vm-mgr-alerts.socket; systemctl stop {ALERTS}"
        at(lab, node.name, f"{away}; cd /etc/systemd/system; rm -f {ALERTS} {DROPINS} /usr/lib/vm-mgr/alert")
        at(lab, node.name, "systemctl daemon-reload")
        at(
            lab,
            node.name,
            "cd /usr/lib/vm-mgr; rm -rf versions current; rm -f /etc/tmpfiles.d/vm-mgr-versions.conf",
        )
        for path, text in (("/usr/bin/vm-mgr", COMMAND), ("/etc/libvirt/hooks/qemu.d/vm-mgr", HOOK)):
            put = f"rm -f {path}; cat >{path}; chmod 0755 {path}"
            lab.execute(node.name, ["sh", "-c", put], stdin=text)


def upgrade(lab: Lab) -> None:
    deploy(lab.paths, print)


@pytest.fixture(params=[FIRST, LATER])
def earlier(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    """Give a cluster of an earlier version that runs VMs in both storages; afterwards it has this one."""
    present = in_use(lab)
    try:
        with clean(lab):
            (install_first if request.param == FIRST else install_later)(lab)
            for name, storage in VMS.items():
                create(lab, name, storage, "--enable-live-migration", *QUICK)
            yield request.param
    finally:
        if in_use(lab) != present or "vm-mgr-alert" not in shell(lab, "cibadmin --query"):
            upgrade(lab)


def facts(lab: Lab, name: str) -> tuple[str, str, str]:
    """Give the VM's node, and PID and start time of its QEMU."""
    node = node_of(lab, name)
    pid = at(lab, node, f"cat /run/libvirt/qemu/{name}.pid").strip()
    return node, pid, at(lab, node, f"cut -d')' -f2- /proc/{pid}/stat | cut -d' ' -f21").strip()


def failures(lab: Lab) -> list[str]:
    """Give the failed actions and the counted failures that the cluster has of our VMs."""
    told = etree.fromstring(shell(lab, "crm_mon -1 --output-as=xml").encode())
    failed = [str(one.get("op_key")) for one in told.iterfind("failures/failure")]
    counted = [
        f"{one.get('id')} {one.get('fail-count')}"
        for one in told.iter("resource_history")
        if one.get("fail-count") not in (None, "0")
    ]
    return [text for text in failed + counted if text.startswith(tuple(VMS))]


def agents(lab: Lab) -> int:
    """Count the nodes on which the clone that tells what VMs find there runs."""
    told = etree.fromstring(shell(lab, "crm_mon -1 --output-as=xml").encode())
    return len(told.findall(".//resource[@id='vm-mgr-node-agent'][@role='Started']"))


def status(lab: Lab, name: str) -> tuple[str, str]:
    told: dict[str, Any] = json.loads(vm_mgr(lab, "status", name, "--output", "json"))
    return told["state"], told["detail"]


def holds(lab: Lab, name: str) -> bool:
    """Tell whether a failed live migration would leave the VM where it runs, as this version wants it."""
    operation = f"//primitive[@id='{name}']/operations/op[@name='migrate_to']//nvpair[@value='block']"
    line = ["cibadmin", "--query", "--xpath", operation]
    return lab.execute("n1", line, check=False).returncode == 0


def check_monitors(lab: Lab) -> None:
    """Call the new agent, as Pacemaker does, and let it be called by Pacemaker two times more."""
    for name in VMS:
        at(lab, node_of(lab, name), f"crm_resource --resource {name} --force-check")
    time.sleep(2 * MONITOR_S + 2)
    assert failures(lab) == []


def test_upgrade_restarts_no_vm_and_all_goes_on_with_the_new_version(lab: Lab, earlier: str) -> None:
    before = {name: facts(lab, name) for name in VMS}
    assert all(holds(lab, name) == (earlier == LATER) for name in VMS), (
        "what is upgraded is the earlier version"
    )
    was = in_use(lab)
    upgrade(lab)
    assert in_use(lab) not in ("", was)
    assert {name: facts(lab, name) for name in VMS} == before
    check_monitors(lab)
    assert {name: facts(lab, name) for name in VMS} == before
    assert {name: status(lab, name) for name in VMS} == dict.fromkeys(VMS, ("Started", ""))
    for node in lab.nodes:
        at(lab, node.name, "systemctl is-active vm-mgr-alerts.socket")
    assert "vm-mgr-alert" in shell(lab, "cibadmin --query --scope alerts")
    wait_until(lambda: agents(lab) == len(lab.nodes), what="the clone that this version has", timeout_s=180)
    for name in VMS:
        check_settings(lab, name)
        check_life(lab, name)
    assert vm_mgr(lab, "repair") == "nothing is unfinished\n"
    assert failures(lab) == []


def check_settings(lab: Lab, name: str) -> None:
    """A change of settings brings the operations up to date, and disturbs nobody."""
    before = facts(lab, name)
    vm_mgr(lab, "set", name, "--priority", "3", "--check", "counters=60s")
    assert holds(lab, name)
    shell(lab, "crm_resource --wait --timeout 150s")  # a restart would begin at once
    assert facts(lab, name) == before
    vm_mgr(lab, "set", name, "--unset", "priority", "--no-check", "counters")
    assert facts(lab, name) == before


def check_life(lab: Lab, name: str) -> None:
    node = node_of(lab, name)
    vm_mgr(lab, "migrate", name)
    assert node_of(lab, name) != node
    assert len(qemu_nodes(lab, name)) == 1
    vm_mgr(lab, "stop", name)
    assert qemu_nodes(lab, name) == ()
    vm_mgr(lab, "start", name)
    wait_until(lambda: status(lab, name) == ("Started", ""), what=f"{name} to run", timeout_s=180)


@pytest.mark.usefixtures("earlier")
def test_vm_of_the_earlier_version_moves_and_stops_with_the_new_one_without_a_change_before(lab: Lab) -> None:
    """The move itself brings the operation up to date (docs/explanation/migration.md)."""
    upgrade(lab)
    for name in VMS:
        check_life(lab, name)
        assert holds(lab, name)
    assert failures(lab) == []

"""Definitions as people bring them: what SEAPATH's template, virt-install and virt-manager write by default.

They are taken as they are, but for a type of domain that needs no KVM, and little memory.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until
from vm_mgr_lab.up import wait_ready

from .guest import DEFINITION, QUICK, at, clean, node_of
from .test_life import shell, vm_mgr

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

NAME = "real1"
XML = "/root/real.xml"
FILES = ("--xml", XML, "--image", "/root/cmd.qcow2")
DEFINITIONS = Path(__file__).parent / "definitions"
ISO, HOME, OTHER = "/root/real.iso", "n2", "n3"
DRIVE = f'''<devices><disk type="file" device="cdrom"><source file="{ISO}"/><target dev="hdc" bus="ide"/>
<readonly/></disk>'''
# What must be in the domain that runs, whatever vm-mgr has changed.
KEPT = {
    "seapath": (
        "i6300esb",
        "<suspend-to-mem enabled='no'/>",
        "<memballoon model='none'/>",
        "rebootTimeout='0'",
    ),
    "debian": ("debian.org/debian/13", "discard='unmap'", "qemu-xhci", "guest_agent.0", "/dev/urandom"),
    "windows": ("bus='sata'", "e1000e", "offset='localtime'", "secure='yes'", "<relaxed state='on'/>"),
}


@pytest.fixture
def files(lab: Lab) -> Iterator[None]:
    with clean(lab, (NAME,)):
        yield
        shell(lab, f"rm -f {XML}")


def lay_out(lab: Lab, who: str) -> None:
    lab.execute("n1", ["sh", "-c", f"cat > {XML}"], stdin=(DEFINITIONS / f"{who}.xml").read_text())


@pytest.mark.parametrize("who", KEPT)
def test_definition_starts_as_it_is(lab: Lab, files: None, who: str) -> None:
    lay_out(lab, who)
    vm_mgr(lab, "create", NAME, *FILES, *QUICK)
    node = node_of(lab, NAME)
    runs = at(lab, node, f"virsh dumpxml {NAME}")
    assert [one for one in KEPT[who] if one not in runs] == []


def test_what_no_node_has_is_named_before_anything_is_made(lab: Lab, files: None) -> None:
    lay_out(lab, "desktop")
    refused = lab.execute("n1", ["vm-mgr", "create", NAME, *FILES], check=False)
    assert refused.returncode != 0
    assert "SPICE" in refused.stderr
    assert "qemu-system-modules-spice" in refused.stderr
    assert NAME not in [row["name"] for row in json.loads(vm_mgr(lab, "list", "--output", "json"))]


def test_medium_that_one_node_has_is_named_by_a_move_and_holds_up_no_failover(lab: Lab, files: None) -> None:
    lab.execute("n1", ["sh", "-c", f"cat > {XML}"], stdin=DEFINITION.replace("<devices>", DRIVE))
    at(lab, HOME, f"truncate -s 1M {ISO}")
    try:
        live = ("--enable-live-migration", "--migration-user", "root", "--preferred-host", HOME)
        vm_mgr(lab, "create", NAME, *FILES, *live, *QUICK)
        assert node_of(lab, NAME) == HOME
        assert ISO in at(lab, HOME, f"virsh domblklist {NAME}")
        told = vm_mgr(lab, "migrate", NAME, OTHER, code=5)
        assert f"{ISO}, which is in a drive of {NAME}, is missing on {OTHER}" in told
        lab.cut_power(HOME)
        wait_until(lambda: node_of(lab, NAME) not in (HOME, ""), what="the recovery", timeout_s=180)
        assert ISO not in at(lab, node_of(lab, NAME), f"virsh domblklist {NAME}")
        lab.power_on(HOME)
    finally:
        wait_ready(lab, print)
        at(lab, HOME, f"rm -f {ISO}")

"""Disks of VMs as the storage has them stopped and started in the CIB."""

import pytest

from tests.contract.conftest import MemoryCib
from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.pacemaker import cib_read, cib_write
from vm_mgr.adapters.pacemaker.cib_disks import CibDisks
from vm_mgr.adapters.pacemaker.moves import add_move
from vm_mgr.model.resource import disk_id
from vm_mgr.model.storage import Disk, DiskKind
from vm_mgr.ports.cluster import Move

from .test_cluster_parts import promotable, vm_with
from .test_pacemaker import EMPTY

DISK = disk_id("web1", "drbd")


@pytest.fixture
def cib():
    memory = MemoryCib()
    memory.whole = cib_write.parse_cib(EMPTY)
    cib_write.add_vm(memory.whole, vm_with(promotable()))
    return memory


def roles(cib):
    return [one.get("value") for one in cib.whole.iterfind(".//clone//nvpair[@name='target-role']")]


def test_disk_is_stopped_and_started_and_stays_the_same_otherwise(cib):
    disks = CibDisks(cib)
    assert disks.stop(DISK)
    assert disks.stop(DISK)
    assert roles(cib) == ["Stopped"]
    assert cib_read.read_configured(cib.whole, "web1").vm.disks == promotable().disks
    disks.start(DISK)
    disks.start(DISK)
    assert roles(cib) == []


def test_role_does_not_end_with_a_move(cib):
    add_move(cib.whole, Move("web1", "n1", "n2", both_promoted=True), expires_utc=4e9)
    CibDisks(cib).stop(DISK)
    (pair,) = cib.whole.iterfind(".//clone//nvpair[@name='target-role']")
    assert pair.getparent().find("rule") is None


@pytest.mark.parametrize("ident", [disk_id("web2", "drbd"), "web1", "stonith"])
def test_what_is_no_disk_of_ours_is_not_touched(cib, ident):
    before = len(cib.whole)
    assert not CibDisks(cib).stop(ident)
    CibDisks(cib).start(ident)
    assert len(cib.whole) == before
    assert roles(cib) == []


def test_device_is_a_block_disk_without_the_hosts_cache():
    disk = Disk("/var/lib/vm-mgr/drbd/system_web1", DiskKind.BLOCK, "raw", "virtio", "none", "native")
    xml = DomainXml().with_disk("<domain><devices/></domain>", disk)
    for part in (
        'type="block"',
        '<source dev="/var/lib/vm-mgr/drbd/system_web1"/>',
        'type="raw"',
        'cache="none"',
        'io="native"',
    ):
        assert part in xml.replace("'", '"')

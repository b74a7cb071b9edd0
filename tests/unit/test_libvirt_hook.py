"""libvirt's hook: who may start a domain by hand."""

import os

import pytest

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import DiskClient
from vm_mgr.ocf import guard

XML = "<domain><devices><disk><source protocol='rbd' name='rbd/system_web1'/></disk></devices></domain>"
HELD = DiskClient("system_web1", "198.51.100.12:0/7")


@pytest.fixture
def node(env, tmp_path):
    env.state_dir = tmp_path / "run"
    return env


def call(node, operation, xml=XML):
    return guard.main(node, ["web1", operation, "begin", "-"], xml)


def test_free_disk_may_be_started(node):
    assert call(node, "prepare") == 0


def test_held_disk_is_refused_and_the_holder_named(node, capsys):
    node.storage.held = [HELD]
    assert call(node, "prepare") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "n2" in lines[0]


def test_disks_of_others_are_no_business_of_ours(node):
    node.storage.held = [HELD]
    assert call(node, "prepare", XML.replace("rbd/", "images/")) == 0
    assert call(node, "prepare", "<domain/>") == 0


def test_system_disk_is_not_shared_by_saying_so(node):
    node.storage.held = [HELD, HELD._replace(image="cluster-data")]
    shared = XML.replace("<disk>", "<disk><shareable/>")
    assert call(node, "prepare", shared) == 1
    assert call(node, "prepare", shared.replace("system_web1", "cluster-data")) == 0
    assert call(node, "prepare", XML.replace("<disk>", "<disk><readonly/>")) == 0


def test_incoming_migration_passes_once(node):
    node.storage.held = [HELD]
    assert call(node, "migrate") == 0
    assert call(node, "prepare") == 0
    assert call(node, "prepare") == 1


def test_announcement_expires(node):
    node.storage.held = [HELD]
    call(node, "migrate")
    os.utime(node.state_dir / "incoming..web1", (1, 1))
    assert call(node, "prepare") == 1


def test_unreachable_storage_refuses(node):
    def unreachable(images):
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "Ceph can't be reached")

    node.storage.clients.of = unreachable
    assert call(node, "prepare") == 1


def test_other_operations_pass(node):
    node.storage.held = [HELD]
    assert guard.main(node, ["web1", "stopped", "end", "-"], XML) == 0
    assert guard.main(node, [], "") == 0

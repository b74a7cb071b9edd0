"""A name that nothing has: the error names the one that was meant, if any is like it."""

import pytest
from click.testing import CliRunner

from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.memory.env import MemoryEnv
from vm_mgr.adapters.storage_set.storages import StorageEntry, StorageSet
from vm_mgr.cli.app import app
from vm_mgr.errors import EXIT_CODES, Kind, UnknownNameError
from vm_mgr.model.cluster import Node
from vm_mgr.model.vm import VmName, VmSettings
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.create_snapshot import create_snapshot

DOMAIN = "<domain type='qemu'><name>x</name><memory>1</memory><os><type>hvm</type></os><devices/></domain>"


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    image = tmp_path_factory.mktemp("images") / "disk.qcow2"
    image.write_bytes(b"QFI\xfb" + bytes(20) + (1 << 20).to_bytes(8, "big"))
    made = MemoryEnv(DomainXml())
    made.cluster.nodes["node-a"] = Node("node-a")
    for name in ("web1", "Mail"):
        create(made, CreateRequest(VmName(name), DOMAIN, (str(image),), VmSettings()))
    create_snapshot(made, VmName("web1"), "before-upgrade")
    return made


@pytest.fixture
def typed(env):
    def run(*words):
        done = CliRunner(mix_stderr=False).invoke(app, words, obj=env)
        assert done.exit_code == EXIT_CODES[Kind.NOT_FOUND], done.stderr
        return done.stderr.splitlines()[1]

    return run


@pytest.mark.parametrize(
    "words",
    [
        ("start", "wbe1"),
        ("stop", "wbe1"),
        ("restart", "wbe1"),
        ("enable", "wbe1"),
        ("disable", "wbe1"),
        ("remove", "--yes", "wbe1"),
        ("rename", "wbe1", "--new-name", "web7"),
        ("clone", "wbe1", "--dst-name", "web7"),
        ("migrate", "wbe1", "n2"),
        ("unmigrate", "wbe1"),
        ("set", "wbe1", "--memory", "2G"),
        ("show", "wbe1"),
        ("show", "--xml", "wbe1"),
        ("events", "wbe1"),
        ("timeouts", "wbe1"),
        ("pause", "wbe1"),
        ("flatten", "wbe1"),
        ("add-disk", "wbe1", "1G"),
        ("remove-disk", "wbe1", "1"),
        ("create-snapshot", "wbe1", "--snap-name", "s1"),
        ("list-snapshots", "wbe1"),
        ("list-metadata", "wbe1"),
        ("add-colocation", "wbe1", "Mail"),
        ("add-colocation", "Mail", "wbe1"),
        ("start", "WEB1"),
    ],
)
def test_vm_that_was_meant_is_named(typed, words):
    assert typed(*words).startswith("hint: did you mean web1? see")


def test_vm_is_named_in_its_own_case(typed):
    assert typed("start", "mial").startswith("hint: did you mean Mail?")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("migrate", "web1", "nodea"), "node-a"),
        (("migrate", "--all-from", "nodea"), "node-a"),
        (("set", "web1", "--pinned-host", "node_a"), "node-a"),
        (("release-node", "nodea"), "node-a"),
        (("rollback", "web1", "--snap-name", "before-upgrad"), "before-upgrade"),
        (("remove-snapshot", "web1", "--snap-name", "befor-upgrade"), "before-upgrade"),
    ],
)
def test_node_snapshot_or_storage_that_was_meant_is_named(typed, words, meant):
    assert typed(*words).startswith(f"hint: did you mean {meant}?")


def test_name_like_none_leads_to_the_list(typed):
    assert typed("start", "database") == "hint: see the VMs: vm-mgr list"


def test_storage_that_was_meant_is_named_of_several():
    places = StorageSet({"ceph": StorageEntry(MemoryEnv), "shared": StorageEntry(MemoryEnv)})
    with pytest.raises(UnknownNameError) as caught:
        places.get("share")
    assert caught.value.hint == "did you mean shared? there are: ceph, shared"

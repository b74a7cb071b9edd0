"""What libvirt's hook sees of a domain's disks, by whatever way they are named."""

from functools import partial

import pytest

from vm_mgr.adapters.ceph import identify
from vm_mgr.model.cluster import Fencing
from vm_mgr.model.intent import Intent
from vm_mgr.model.storage import DiskClient, Identified
from vm_mgr.ocf import guard
from vm_mgr.ports.own_clients import Opened

HELD = DiskClient("system_web1", "198.51.100.12:0/7")
POOL = "<pool type='{type}'><name>{name}</name><source><name>{ceph}</name></source></pool>"
STATE = "<!--\nWARNING: THIS IS AN AUTO-GENERATED FILE\n-->\n\n{pool}"
QEMU = "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"


@pytest.fixture
def node(env, tmp_path):
    env.state_dir = tmp_path / "run"
    pools, mapped = tmp_path / "storage", tmp_path / "rbd"
    pools.mkdir()
    for name, kind, ceph in (("ours", "rbd", "rbd"), ("images", "rbd", "images"), ("files", "dir", "rbd")):
        text = POOL.format(type=kind, name=name, ceph=ceph)
        (pools / f"{name}.xml").write_text(STATE.format(pool=text))
    (pools / "running.xml").write_text(
        f"<poolstate>{POOL.format(type='rbd', name='running', ceph='rbd')}</poolstate>"
    )
    (pools / "broken.xml").write_text("<pool")
    for number, pool, name, space in (
        ("0", "rbd", "system_web1", ""),
        ("1", "images", "system_web1", ""),
        ("2", "rbd", "system_web1", "ns"),
    ):
        (mapped / number).mkdir(parents=True)
        for file, text in (("pool", pool), ("name", name), ("pool_ns", space)):
            (mapped / number / file).write_text(f"{text}\n")
    look = partial(identify.identified, pool="rbd", pools=(tmp_path / "none", pools), mapped=mapped)
    env.storages.identified = lambda _label, sources: look(sources)
    env.look = lambda xml: look(env.definitions.opened(xml))
    return env


def domain(disk):
    return f"<domain {QEMU}><devices>{disk}</devices></domain>"


def volume(pool, name="system_web1", inside=""):
    return domain(f"<disk type='volume'><source pool='{pool}' volume='{name}'/>{inside}</disk>")


def network(name, inside=""):
    return domain(f"<disk type='network'><source protocol='rbd' name='{name}'/>{inside}</disk>")


def block(path):
    return domain(f"<disk type='block'><source dev='{path}'/></disk>")


ARGUMENT = f"<domain {QEMU}><devices/><qemu:commandline><qemu:arg value='{{}}'/></qemu:commandline></domain>"


@pytest.mark.parametrize(
    "xml",
    [
        network("rbd/system_web1"),
        volume("ours"),
        volume("running"),
        volume("ours", inside="<shareable/>"),
        block("/dev/rbd/rbd/system_web1"),
        block("/dev/rbd0"),
        block("/dev/rbd0p1"),
        domain("<disk type='file'><source file='/dev/rbd/rbd/system_web1'/></disk>"),
    ],
)
def test_disk_of_ours_is_seen_and_refused_while_it_is_held(node, xml, capsys):
    assert node.look(xml).images[:1] == ("system_web1",)
    assert guard.main(node, ["any", "prepare", "begin", "-"], xml) == 0
    node.storage.held = [HELD]
    assert guard.main(node, ["any", "prepare", "begin", "-"], xml) == 1
    assert "in use on n2" in capsys.readouterr().err


def test_partition_of_a_mapped_image_is_the_image_or_one_of_that_name(node):
    found = node.look(block("/dev/rbd/rbd/system_web1-part1"))
    assert set(found.images) == {"system_web1-part1", "system_web1"}


@pytest.mark.parametrize(
    "xml",
    [
        network("system_web1"),
        network("rbd/ns/system_web1"),
        volume("unknown"),
        volume("broken"),
        volume("../storage/ours"),
        volume("unknown", "data_web1_0"),
        volume("unknown", "system_web1@snap"),
        block("/dev/rbd/rbd/ns/system_web1"),
        ARGUMENT.format("file=rbd:rbd/system_web1:id=admin,if=virtio"),
        ARGUMENT.format('{"driver":"rbd","pool":"rbd","image":"data_web1_0"}'.replace('"', "&quot;")),
    ],
)
def test_what_is_named_like_one_of_ours_and_can_not_be_told_is_refused(node, xml, capsys):
    found = node.look(xml)
    assert found.doubtful
    assert not found.images
    assert guard.main(node, ["any", "prepare", "begin", "-"], xml) == 1
    assert "can't be identified" in capsys.readouterr().err


@pytest.mark.parametrize(
    "xml",
    [
        "<domain/>",
        network("images/system_web1"),
        network("rbd/system_web1", "<readonly/>"),
        network("rbd/shared", "<shareable/>"),
        network("anything"),
        volume("images"),
        volume("files"),
        volume("unknown", "disk1"),
        volume("unknown", inside="<readonly/>"),
        volume("unknown", "data_web1_0", inside="<shareable/>"),
        block("/dev/rbd/images/system_web1"),
        block("/dev/rbd1"),
        block("/dev/rbd9"),
        block("/dev/vg0/system_web1"),
        ARGUMENT.format("-snapshot"),
    ],
)
def test_disks_of_others_are_no_business_of_ours(node, xml):
    assert node.look(xml) == Identified()
    node.storage.held = [HELD]
    assert guard.main(node, ["any", "prepare", "begin", "-"], xml) == 0


def test_namespace_of_a_mapped_image_is_another_image(node):
    assert node.look(block("/dev/rbd2")) == Identified()


def test_hook_judges_by_the_rule_of_a_start(node):
    xml = network("rbd/system_web1")
    node.storage.held = [HELD]
    began = node.clock.now
    assert guard.main(node, ["web1", "prepare", "begin", "-"], xml) == 1
    assert node.clock.now - began < 1  # who watches is not waited for
    assert not node.storage.evicted
    node.cluster.nodes["n2"] = node.cluster.nodes["n2"]._replace(online=False)
    assert guard.main(node, ["web1", "prepare", "begin", "-"], xml) == 1  # left in good order
    node.cluster.fencings = [Fencing("n2", succeeded=True, completed="1970-01-12 13:46:40Z")]
    assert guard.main(node, ["web1", "prepare", "begin", "-"], xml) == 0
    mine = HELD._replace(address="198.51.100.11:0/9")
    node.storage.held, node.storage.evicted = [mine], []
    assert guard.main(node, ["web1", "prepare", "begin", "-"], xml) == 1
    node.own_clients.keep("web1", Opened(7, "5", frozenset({mine.address})))
    assert guard.main(node, ["web1", "prepare", "begin", "-"], xml) == 0


def test_hook_waits_for_a_lock_alone_to_be_judged_and_never_asks_libvirt(node):
    xml = network("rbd/system_web1")
    node.hypervisor.on_call = lambda verb: pytest.fail(f"libvirt was asked by its own hook: {verb}")
    left = HELD._replace(client="client.1", cookie="auto 1", watching=False)
    node.storage.held = [left]
    began = node.clock.now
    assert guard.main(node, ["web1", "prepare", "begin", "-"], xml) == 0
    assert node.storage.evicted == [left]
    assert 5 <= node.clock.now - began < 8
    node.storage.held = [HELD._replace(address="203.0.113.9:0/1")]
    assert guard.main(node, ["web1", "prepare", "begin", "-"], xml) == 1


@pytest.mark.parametrize(
    ("intent", "refused"),
    [
        (Intent("rollback", details={"phase": "rolling"}), True),
        (Intent("remove", details={"phase": "deleting"}), True),
        (Intent("rollback", details={"phase": "stopping"}), False),
        (Intent("create-snapshot"), False),
    ],
    ids=["rolling back", "being removed", "not yet rolled back", "snapshot"],
)
def test_hook_refuses_disks_that_an_operation_has_left_between_two_states(node, capsys, intent, refused):
    """By whatever name virsh starts them."""
    node.intent_log.write("web1", intent)
    assert guard.main(node, ["other", "prepare", "begin", "-"], network("rbd/system_web1")) == int(refused)
    assert ("web1 is not started: " in capsys.readouterr().err) is refused
    assert guard.main(node, ["other", "prepare", "begin", "-"], network("rbd/system_web2")) == 0

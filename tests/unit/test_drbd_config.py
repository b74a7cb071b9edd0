"""[drbd] in the configuration."""

import pytest

from vm_mgr.config import DrbdSettings, load, load_storage
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.wiring import RealEnv

PLAIN = '[drbd]\nnodes = "n1 n2"\n'


@pytest.fixture
def write(tmp_path, monkeypatch):
    path = tmp_path / "vm-mgr.toml"
    monkeypatch.setenv("VM_MGR_CONFIG", str(path))
    return path.write_text


@pytest.mark.parametrize("nodes", ['"n1 n2"', '["n1", "n2"]'])
def test_drbd_alone_is_the_default_and_needs_no_ceph(write, nodes):
    write(f'[drbd]\nnodes = {nodes}\ngroup = "vg0"\n\n[nodes]\nn1 = ["192.0.2.1"]\n')
    settings = load_storage()
    assert settings == load().storage
    assert (settings.ceph, settings.default) == (None, "drbd")
    assert settings.drbd == DrbdSettings(("n1", "n2"), group="vg0")


def test_drbd_beside_a_directory_is_not_the_default(write):
    write('[shared_dir.vms]\npath = "/srv/vms"\n\n' + PLAIN)
    assert load_storage().default == "vms"
    assert load_storage() == load().storage


@pytest.mark.parametrize(
    "text",
    [
        "[drbd]\n",
        '[drbd]\nnodes = "n1"\n',
        PLAIN + 'ports = "80-90"\n',
        PLAIN + 'ports = "7900"\n',
        PLAIN + 'group = "a/b"\n',
        PLAIN + 'cache = "unsafe"\n',
        PLAIN + 'speed = "fast"\n',
        '[shared_dir.drbd]\npath = "/srv/vms"\n',
    ],
)
def test_what_can_not_be_meant_is_refused(write, text):
    write(text)
    with pytest.raises(VmMgrError) as caught:
        load_storage()
    assert caught.value.kind is Kind.ENVIRONMENT


def test_storage_locks_and_this_nodes_halves_are_built(write):
    write(PLAIN + '\n[nodes]\nn1 = ["192.0.2.1"]\nn2 = ["192.0.2.2"]\n')
    env = RealEnv()
    storage = env.storages.get("drbd")
    assert env.storage is storage
    assert storage.pool.nodes() == {"n1": "192.0.2.1", "n2": "192.0.2.2"}
    assert env.intent_log is env.cib_intent_log
    with pytest.raises(VmMgrError) as caught:
        env.node_disks.do(("what", "1", "1", "1"))
    assert caught.value.kind is Kind.INVALID


def test_node_without_drbd_has_no_halves(write):
    write('[shared_dir.vms]\npath = "/srv/vms"\n')
    with pytest.raises(VmMgrError) as caught:
        RealEnv().node_disks.do(("look", "1", "1", "1"))
    assert caught.value.kind is Kind.NOT_SUPPORTED


def test_own_disk_is_nothing_that_a_node_must_have_beside_it(write):
    write(PLAIN)
    xml = """<domain type='kvm'><name>web1</name><devices><disk type='block' device='disk'>
    <source dev='/var/lib/vm-mgr/drbd/system_web1'/><target dev='vda'/></disk></devices></domain>"""
    env = RealEnv()
    assert not [word for word in env.definitions.requirements(xml) if "system_web1" in word]
    assert not env.definitions.ties(xml)

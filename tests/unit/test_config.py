"""The configuration: read whole, or quickly where it is plain, with the same result."""

import pytest

from vm_mgr.config import CephSettings, DirectorySettings, StorageSettings, load, load_storage
from vm_mgr.errors import Kind, VmMgrError

PLAIN = """# by hand
[ceph]
conf = "/etc/ceph/other.conf"
user="vm-mgr"

[migration]
network_suffix = "-cluster"

[nodes]
n1 = ["198.51.100.11", "192.0.2.11"]
n2 = "198.51.100.12"
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    path = tmp_path / "vm-mgr.toml"
    monkeypatch.setenv("VM_MGR_CONFIG", str(path))
    return path.write_text


def test_whole_configuration_is_read(write):
    write(PLAIN)
    settings = load()
    assert settings.storage.ceph == CephSettings("/etc/ceph/other.conf", "vm-mgr")
    assert settings.migration_network_suffix == "-cluster"
    assert dict(settings.node_addresses) == {
        "198.51.100.11": "n1",
        "192.0.2.11": "n1",
        "198.51.100.12": "n2",
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        PLAIN,
        '[ceph] # mine\nuser = "a"\n',
        '["ceph"]\nuser = "a"\n',
        'ceph.user = "a"\n',
        'ceph = {user = "a"}\n',
        '[ ceph ]\nuser = "a"\n',
        '[ceph]\nuser = "a" # me\n',
        "[ceph]\nuser = 'a'\n",
        '[ceph]\nuser = "\\u0061"\n',
        '[ceph]\n"user" = "a"\n',
        'x = """\n[ceph]\nuser = "b"\n"""\n[ceph]\nuser = "a"\n',
        '[nodes]\nn1 = [\n  "192.0.2.1",\n]\n[ceph]\nuser = "a"\n',
        '[shared_dir.vms]\npath = "/srv/vms"\n',
        '[ceph]\n[shared_dir.vms]\npath = "/srv/vms"\nio = "threads"\n[storage]\ndefault = "vms"\n',
        '[shared_dir.a]\npath = "/a"\n[shared_dir.b]\npath = "/b"\nresource = "b-clone"\n',
        '[shared_dir]\nvms = {path = "/srv/vms"}\n',
    ],
)
def test_quick_reading_agrees_with_the_whole(write, text):
    write(text)
    assert load_storage() == load().storage


@pytest.mark.parametrize(
    "text",
    [
        '[ceph]\ncache = "unsafe"\n',
        '[ceph]\nusr = "a"\n',
        "[ceph]\nuser = \n",
        "nodes = 1\n",
        "[ceph\n",
        '[storage]\ndefault = "none"\n',
        '[shared_dir.vms]\npath = "vms"\n',
        '[shared_dir.ceph]\npath = "/a"\n',
        "[shared_dir.a]\n",
        '[shared_dir.a]\npath = "/a"\ncache = "unsafe"\n',
        '[ceph]\nuser = "a"\nuser = "b"\n',
        '[storage]\nfirst = "ceph"\n',
        '[shared_dir.vms]\npath = "/a"\nio = "x"\n',
    ],
)
@pytest.mark.parametrize("read", [load, load_storage])
def test_bad_configuration_is_refused(write, text, read):
    write(text)
    with pytest.raises(VmMgrError) as caught:
        read()
    assert caught.value.kind is Kind.ENVIRONMENT


def test_without_a_file_everything_has_its_default(tmp_path, monkeypatch):
    monkeypatch.setenv("VM_MGR_CONFIG", str(tmp_path / "none"))
    assert load_storage() == load().storage == StorageSettings(CephSettings(), {}, "ceph")


def test_directories_stand_beside_ceph_or_alone(write):
    write('[shared_dir.vms]\npath = "/srv/vms"\n')
    alone = load().storage
    assert (alone.ceph, alone.default) == (None, "vms")
    assert alone.directories == {"vms": DirectorySettings("/srv/vms")}
    write('[ceph]\n[shared_dir.vms]\npath = "/srv/vms"\n')
    assert load().storage.ceph == CephSettings()
    assert load().storage.default == "ceph"

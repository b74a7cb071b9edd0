"""What the inventory's `storages` decides: roles, packages, libvirt's secret and vm-mgr's configuration."""

import subprocess
import sys

import pytest
import yaml

from vm_mgr.config import CephSettings, load, load_storage

from .test_deployed_inventory import refusal
from .test_deployed_timeouts import DEPLOY, Deployment

DIRS = [{"label": "vms", "path": "/srv/vms"}, {"label": "more", "path": "/srv/more"}]
ONLY_CEPH, BOTH, ONLY_DIRS = {}, {"shared_dirs": DIRS}, {"shared_dirs": DIRS, "storages": ["shared_dir"]}
CEPHS = {"ceph-common", "ceph-mgr", "ceph-mon", "ceph-osd", "python3-rados", "python3-rbd"}
STORAGES = "The storages are known"
DIRECTORIES = "Shared directories are named where they are a storage, and only there"
DEFAULT = "New VMs go to a storage that there is"
STORED = "Ceph has something to store on"


def read(*path):
    return yaml.safe_load(DEPLOY.joinpath(*path).read_text())


def deployment(**inventory):
    built = Deployment(3, **inventory)
    for file in (DEPLOY / "roles" / "vm_mgr" / "defaults" / "main.yml",):
        built.values = yaml.safe_load(file.read_text()) | built.values
    return built


def storages(**inventory):
    built = deployment(**inventory)
    return built.value(built.values["cluster_storages"])


def task(role, name):
    (found,) = [one for one in read("roles", role, "tasks", "main.yml") if one["name"].startswith(name)]
    return found


@pytest.mark.parametrize(
    ("inventory", "expected"),
    [
        (ONLY_CEPH, ["ceph"]),
        ({"shared_dirs": []}, ["ceph"]),
        (BOTH, ["ceph", "shared_dir"]),
        (ONLY_DIRS, ["shared_dir"]),
    ],
)
def test_storages_are_as_ever_unless_the_inventory_names_them(inventory, expected):
    assert storages(**inventory) == expected


def test_role_runs_where_its_storage_is_named():
    (play,) = [one for one in read("site.yml") if one["name"] == "Deploy"]
    (ceph,) = [one for one in play["roles"] if isinstance(one, dict) and one["role"] == "ceph"]
    assert ceph["when"] == "'ceph' in cluster_storages"


@pytest.mark.parametrize(
    ("inventory", "hypervisor", "has", "lacks"),
    [
        (ONLY_CEPH, True, CEPHS, {"psmisc"}),
        (BOTH, True, CEPHS | {"psmisc", "kmod"}, set()),
        (ONLY_DIRS, True, {"psmisc", "libvirt-daemon-system", "python3-libvirt"}, CEPHS),
        (ONLY_DIRS, False, {"pacemaker"}, CEPHS | {"psmisc", "libvirt-daemon-system"}),
    ],
)
def test_packages_are_those_of_the_storages(inventory, hypervisor, has, lacks):
    built = deployment(**inventory, is_hypervisor=hypervisor, base_time_sync=True)
    built.jinja.filters["unique"] = lambda many: list(dict.fromkeys(many))
    for file in DEPLOY.glob("roles/*/vars/packages.yml"):
        built.values |= yaml.safe_load(file.read_text())
    wanted = set(yaml.safe_load(built.fill(task("base", "Find missing")["vars"]["wanted"])))
    assert has <= wanted
    assert not lacks & wanted


@pytest.fixture
def written(tmp_path, monkeypatch):
    def write(**inventory):
        file = tmp_path / "vm-mgr.toml"
        file.write_text(deployment(**inventory).template("vm_mgr", "vm-mgr.toml.j2"))
        monkeypatch.setenv("VM_MGR_CONFIG", str(file))
        return load()

    return write


@pytest.mark.parametrize(
    ("inventory", "labels", "default"),
    [
        (ONLY_CEPH, {"ceph"}, "ceph"),
        (BOTH, {"ceph", "vms", "more"}, "ceph"),
        (BOTH | {"vm_mgr_default_storage": "more"}, {"ceph", "vms", "more"}, "more"),
        (ONLY_DIRS, {"vms", "more"}, "vms"),
    ],
)
def test_configuration_has_the_storages_and_a_default_among_them(written, inventory, labels, default):
    found = written(**inventory)
    ceph = {"ceph"} if found.storage.ceph else set()
    assert ceph | set(found.storage.directories) == labels
    assert found.storage.default == default
    assert load_storage() == found.storage, "the quick way reads the same"
    assert set(found.node_addresses.values()) == {"n3"}, "all have one address here, and the last one counts"


def test_configuration_of_ceph_is_as_it_was(written):
    assert written().storage.ceph == CephSettings(user="vm-mgr", pool="rbd")


LIBVIRT = """
VIR_DOMAIN_LIST = VIR_CONNECT_LIST_DOMAINS_AUTOSTART = 1
class Connection:
    def listAllNetworks(self): return []
    def listAllDomains(self, flags): return []
    def __getattr__(self, name): raise AssertionError(name)
def registerErrorHandler(*_): pass
def open(uri): return Connection()
"""


def objects(tmp_path, *words):
    (tmp_path / "libvirt.py").write_text(LIBVIRT)
    script = DEPLOY / "roles" / "libvirt" / "files" / "set-up-objects.py"
    argv = [sys.executable, str(script), *words]
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(tmp_path)}
    )


def test_libvirt_gets_no_secret_where_there_is_no_ceph(tmp_path):
    done = objects(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "ceph.client.libvirt.keyring" in objects(tmp_path, "libvirt", "client.libvirt secret").stderr


@pytest.mark.parametrize(
    ("inventory", "command"),
    [(ONLY_CEPH, 'set-up-objects.py "libvirt" "client.libvirt secret"'), (ONLY_DIRS, "set-up-objects.py")],
)
def test_libvirt_is_asked_for_a_secret_where_there_is_a_ceph(inventory, command):
    built = deployment(**inventory)
    built.values = read("roles", "libvirt", "defaults", "main.yml") | built.values
    (script,) = [
        one["ansible.builtin.script"]["cmd"]
        for one in read("roles", "libvirt", "tasks", "main.yml")
        if "set-up-objects.py" in str(one.get("ansible.builtin.script"))
    ]
    assert built.fill(script).strip() == command


@pytest.mark.parametrize("named", [["ceph"], ["shared_dir"], ["ceph", "shared_dir"], ["shared_dir", "ceph"]])
def test_known_storages_are_taken(named):
    assert refusal(STORAGES, cluster_storages=named) == ""


@pytest.mark.parametrize("named", [[], None, "ceph", ["ceph", "nfs"], ["shared_dirs"]])
def test_other_storages_are_refused_with_those_that_there_are(named):
    assert "ceph, shared_dir" in refusal(STORAGES, cluster_storages=named)


def test_directories_and_the_storage_go_together():
    host = {"inventory_hostname": "n1"}
    assert refusal(DIRECTORIES, **host, cluster_storages=["ceph"]) == ""
    assert refusal(DIRECTORIES, **host, cluster_storages=["shared_dir"], shared_dirs=DIRS) == ""
    without = refusal(DIRECTORIES, **host, cluster_storages=["shared_dir"])
    assert "n1" in without
    assert "shared_dirs names none" in without
    beyond = refusal(DIRECTORIES, **host, cluster_storages=["ceph"], shared_dirs=DIRS)
    assert "add shared_dir to storages" in beyond


@pytest.mark.parametrize("chosen", ["ceph", "vms", None])
def test_default_storage_is_one_of_those(chosen):
    given = {"vm_mgr_default_storage": chosen} if chosen else {}
    assert refusal(DEFAULT, cluster_storages=["ceph", "shared_dir"], shared_dirs=DIRS, **given) == ""


@pytest.mark.parametrize(
    ("chosen", "named"), [("ceph", ["shared_dir"]), ("vm", ["ceph", "shared_dir"]), ("vms", ["ceph"])]
)
def test_default_storage_that_is_none_is_refused(chosen, named):
    dirs = {"shared_dirs": DIRS} if "shared_dir" in named else {}
    told = refusal(DEFAULT, cluster_storages=named, vm_mgr_default_storage=chosen, **dirs)
    assert f"vm_mgr_default_storage is {chosen}" in told


def test_disks_for_ceph_are_asked_for_where_there_is_one():
    assert refusal(STORED, inventory_hostname="n1", cluster_storages=["shared_dir"]) == ""
    assert "no storage for Ceph" in refusal(STORED, inventory_hostname="n1", cluster_storages=["ceph"])


def test_ceph_that_vm_mgr_knows_is_not_left_out():
    """Its VMs would run on where nothing looks after them."""
    known, refused = task("vm_mgr", "Does vm-mgr know"), task("vm_mgr", "Leave no VM")
    assert known["ansible.builtin.command"]["argv"][-1] == "/etc/vm-mgr/vm-mgr.toml"
    assert known["when"] == "'ceph' not in cluster_storages"
    names = [one["name"] for one in read("roles", "vm_mgr", "tasks", "main.yml")]
    assert names.index(refused["name"]) < names.index("Configure vm-mgr")

"""vm-mgr on a node that has shared directories and no Ceph: nothing of Ceph is loaded, all else works."""

import os
import subprocess
import sys
from contextlib import suppress

import pytest

from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.memory.env import MemoryEnv
from vm_mgr.adapters.shared_dir.mount import Mount
from vm_mgr.alert.service import Nodes
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.storage import CEPH_SECRET
from vm_mgr.model.vm import VmName, VmSettings, VmState
from vm_mgr.ocf import guard
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.create_snapshot import create_snapshot
from vm_mgr.operations.events import events
from vm_mgr.operations.list_vms import list_vms, look
from vm_mgr.operations.release_node import release_node
from vm_mgr.operations.remove import remove
from vm_mgr.operations.repair import repair
from vm_mgr.operations.rollback import rollback
from vm_mgr.operations.show import show
from vm_mgr.operations.status import status
from vm_mgr.operations.stop import stop
from vm_mgr.operations.timeouts import timeouts
from vm_mgr.wiring import RealEnv

from .conftest import DOMAIN

WEB = VmName("web1")
CEPHS = ("rados", "rbd", "vm_mgr.adapters.ceph")
# What is not the configuration's to choose, and needs a node.
OF_THE_NODE = [
    "cluster",
    "hypervisor",
    "nodes",
    "processes",
    "journal",
    "own_clients",
    "node_runner",
    "nvram_files",
    "evidence",
    "timers",
    "clock",
]


class Refused:
    """Stands before all other finders of modules, and has none of Ceph's."""

    def find_spec(self, name, path=None, target=None):
        if any(name == one or name.startswith(f"{one}.") for one in CEPHS):
            raise AssertionError(f"{name} is loaded")


class OneDirectory(RealEnv):
    """The real wiring over the cluster and the libvirt of the tests."""

    def __init__(self, root, state):
        super().__init__()
        memory = MemoryEnv(DomainXml())
        for part in OF_THE_NODE:
            setattr(self, part, getattr(memory, part))
        self.memory = memory
        self.state = state
        Mount(root).initialise()

    @property
    def state_dir(self):
        return self.state

    def hypervisor_at(self, node):
        return self.memory.hypervisor_at(node)

    def facts_at(self, node):
        return self.memory.facts_at(node)

    def holds_at(self, node):
        return self.memory.holds_at(node)


@pytest.fixture
def env(tmp_path, monkeypatch):
    (tmp_path / "vms").mkdir()
    nodes = "".join(f'n{number} = ["198.51.100.1{number}"]\n' for number in (1, 2))
    text = f'[shared_dir.vms]\npath = "{tmp_path}/vms"\n[storage]\ndefault = "vms"\n[nodes]\n{nodes}'
    (tmp_path / "vm-mgr.toml").write_text(text)
    monkeypatch.setenv("VM_MGR_CONFIG", str(tmp_path / "vm-mgr.toml"))
    for name in [one for one in sys.modules if one.startswith(CEPHS)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Refused(), *sys.meta_path])
    return OneDirectory(tmp_path / "vms", tmp_path / "state")


@pytest.fixture
def picture(tmp_path):
    path = str(tmp_path / "disk.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1M"], check=True)
    return path


@pytest.fixture
def made(env, picture):
    create(env, CreateRequest(WEB, DOMAIN, (picture,)))
    return env


def test_vm_lives_and_ends(made, tmp_path):
    assert status(made, WEB).state is VmState.STARTED
    assert [vm.name for vm in list_vms(made)] == ["web1"]
    assert show(made, WEB).storage == "vms"
    stop(made, WEB)
    create_snapshot(made, WEB, "before")
    rollback(made, WEB, "before")
    clone(made, CloneRequest(VmName("web1"), VmName("web2"), VmSettings()))
    for name in ("web1", "web2"):
        remove(made, name)
    assert list_vms(made) == []
    assert [one.name for one in (tmp_path / "vms").iterdir()] == [".vm-mgr"]


def test_look_that_was_begun_early_needs_no_ceph(made):
    made.cluster.prefetch = lambda: None
    made.prefetch(names=True)
    assert not look(made).missing


def test_what_was_left_half_done_is_looked_for(made):
    assert repair(made) == []


def test_timeouts_are_those_of_the_cluster_alone(made):
    made.__dict__.pop("timings", None)
    assert made.timings.ceph() is None
    made.timings = type(made.timings)(made.memory.timings.cluster, made.timings.ceph)
    found = timeouts(made)
    assert (found.ceph, [one.vm.name for one in found.outlooks]) == (None, ["web1"])


def test_fenced_node_has_nothing_to_be_released(made):
    with pytest.raises(VmMgrError) as caught:
        release_node(made, "n2")
    assert caught.value.kind is Kind.NOT_SUPPORTED


@pytest.mark.parametrize("kind", [EventKind.LOST, EventKind.FENCED])
def test_service_hears_of_a_lost_node(made, kind):
    nodes = Nodes(made)
    seen = nodes.seen(Event(made.clock.utc(), kind, "n2"))
    nodes.act(seen)
    assert not [one for one in made.journal.written if one.kind is EventKind.RELEASE_FAILED]


def test_events_are_kept_beside_the_vms(made, tmp_path):
    made.event_log.append([Event(made.clock.utc(), EventKind.LOST, "n2", node="n1")])
    assert [one.subject for one in made.event_log.read()] == ["n2"]
    events(made, since_s=60)
    kept = [one.read_text() for one in (tmp_path / "vms" / ".vm-mgr").rglob("*") if one.is_file()]
    assert any('"n2"' in one for one in kept)


def test_hook_lets_pass_what_is_nobody_elses(made):
    rbd = "<domain><devices><disk><source protocol='rbd' name='rbd/system_web9'/></disk></devices></domain>"
    for xml in (rbd, "<domain/>"):
        assert guard.main(made, ["any", "prepare", "begin", "-"], xml) == 0


def test_secret_of_a_ceph_elsewhere_is_asked_of_each_node(env):
    secret = f"<secret type='ceph' usage='{CEPH_SECRET}'/>"
    source = f"<source protocol='rbd' name='other/disk'><auth username='u'>{secret}</auth></source>"
    xml = f"<domain><os><type>hvm</type></os><devices><disk type='network'>{source}</disk></devices></domain>"
    (asked,) = env.definitions.requirements(xml)
    assert asked.startswith("has-secret")
    assert DomainXml().requirements(xml) == ()


def test_nothing_of_ceph_is_asked_for_by_a_name(env):
    with pytest.raises(VmMgrError) as caught:
        _ = env.connection
    assert (caught.value.kind, "no Ceph" in caught.value.message) == (Kind.ENVIRONMENT, True)


def test_refusal_of_modules_works(env):
    with pytest.raises(AssertionError):
        import rados  # noqa: F401, PLC0415
    with pytest.raises(AssertionError):
        import vm_mgr.adapters.ceph.pool  # noqa: F401, PLC0415
    with suppress(OSError):
        os.stat("/")  # noqa: PTH116 - the rest of the world is loaded as ever

"""What the connection that is kept to another node's libvirt makes of its answers."""

import sys
import threading
from types import SimpleNamespace

import pytest

from vm_mgr.adapters.libvirt import remote
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.capacity import NodeCapacity
from vm_mgr.wiring import RealEnv


class LibvirtError(Exception):
    """As the binding's own."""


class Domain:
    def __init__(self):
        self.may_answer = threading.Event()
        self.refuses = False

    def stats(self, _cell):
        if self.refuses:
            raise LibvirtError("not supported")
        return {"total": 2 << 20, "free": 1024, "buffers": 512, "cached": 512}

    def fsFreeze(self):  # noqa: N802 - the binding's name
        self.may_answer.wait(10)
        if self.refuses:
            raise LibvirtError("no agent")


@pytest.fixture
def domain(monkeypatch):
    domain, opened, closed = Domain(), [], []
    connection = SimpleNamespace(
        isAlive=lambda: True,
        lookupByName=lambda _: domain,
        close=lambda: closed.append("connection"),
        getInfo=lambda: ["x86_64", 2048, 4, 0, 1, 1, 4, 1],
        getMemoryStats=domain.stats,
    )
    module = SimpleNamespace(
        libvirtError=LibvirtError,
        registerErrorHandler=lambda *_: None,
        open=lambda uri: opened.append(uri) or connection,
    )
    monkeypatch.setitem(sys.modules, "libvirt", module)
    monkeypatch.setattr(remote, "FREEZE_S", 0.2)
    domain.opened, domain.closed = opened, closed
    yield domain
    domain.may_answer.set()


@pytest.fixture
def hypervisor(tmp_path):
    return remote.RemoteLibvirt(None, tmp_path, uri="qemu+ssh://n2/system")


def test_one_connection_serves_all_calls_until_it_is_closed(domain, hypervisor):
    domain.may_answer.set()
    assert hypervisor.freeze("web1")
    assert hypervisor.freeze("web1")
    assert domain.opened == ["qemu+ssh://n2/system"]
    hypervisor.close()
    assert domain.closed == ["connection"]
    hypervisor.close()
    assert domain.closed == ["connection"]
    assert hypervisor.freeze("web1")
    assert len(domain.opened) == 2


@pytest.mark.parametrize(("refuses", "free_bytes"), [(False, 2 << 20), (True, None)])
def test_capacity_has_what_is_free_where_libvirt_tells(domain, hypervisor, refuses, free_bytes):
    domain.refuses = refuses
    assert hypervisor.capacity() == NodeCapacity(2 << 30, 4, free_bytes)


@pytest.mark.parametrize(
    ("other", "host"), [("n2", "n2-cluster"), ("n2.example.com", "n2-cluster.example.com")]
)
def test_environment_closes_what_it_was_asked_to_connect_to(domain, tmp_path, other, host):
    env = RealEnv()
    env.cluster = SimpleNamespace(local_node=lambda: "n1")
    env.settings = SimpleNamespace(state_dir=tmp_path, migration_network_suffix="-cluster")
    domain.may_answer.set()
    assert env.hypervisor_at(other).freeze("web1")
    env.close()
    assert domain.opened == [f"qemu+ssh://{host}/system?no_tty=1"]
    assert domain.closed == ["connection"]


def test_guest_without_an_agent_is_not_frozen(domain, hypervisor):
    domain.refuses = True
    domain.may_answer.set()
    assert not hypervisor.freeze("web1")


def test_freeze_without_an_answer_is_no_no(domain, hypervisor):
    """It may freeze yet: taken for a guest without an agent, it would stay frozen."""
    with pytest.raises(VmMgrError, match="no answer") as caught:
        hypervisor.freeze("web1")
    assert caught.value.kind is Kind.EXTERNAL_FAILURE
    assert caught.value.hint

"""How the connection to Ceph fails."""

import os
import sys
from types import SimpleNamespace

import pytest

from vm_mgr.adapters.ceph.connection import Connection
from vm_mgr.errors import Kind, VmMgrError


def test_pool_that_can_not_be_opened_is_our_error(monkeypatch):
    error = type("Error", (Exception,), {})
    timed_out, absent = (type(name, (error,), {}) for name in ("TimedOut", "ObjectNotFound"))
    monkeypatch.setitem(sys.modules, "rados", SimpleNamespace(Error=error, ObjectNotFound=absent))

    def open_ioctx(pool):
        raise timed_out(f"[errno 110] error opening pool '{pool}'")

    connection = Connection("ceph.conf", "vm-mgr", "rbd")
    monkeypatch.setattr(connection, "_cluster", SimpleNamespace(open_ioctx=open_ioctx))
    with pytest.raises(VmMgrError, match="can't open the pool rbd: 110") as caught:
        assert connection.ioctx
    assert caught.value.kind is Kind.EXTERNAL_FAILURE


@pytest.mark.parametrize(
    ("pool", "hint"),
    [
        ("vms", "create it: ceph osd pool create vms; rbd pool init vms"),
        ("vms/site", "namespaces of RBD are not supported: name a pool in /etc/vm-mgr/vm-mgr.toml"),
    ],
)
def test_namespace_is_not_taken_for_a_pool_that_is_to_be_created(monkeypatch, pool, hint):
    error = type("Error", (Exception,), {})
    absent = type("ObjectNotFound", (error,), {})
    monkeypatch.setitem(sys.modules, "rados", SimpleNamespace(Error=error, ObjectNotFound=absent))

    def open_ioctx(_):
        raise absent

    connection = Connection("ceph.conf", "vm-mgr", pool)
    monkeypatch.setattr(connection, "_cluster", SimpleNamespace(open_ioctx=open_ioctx))
    with pytest.raises(VmMgrError) as caught:
        assert connection.ioctx
    assert (caught.value.kind, caught.value.hint) == (Kind.ENVIRONMENT, hint)


@pytest.mark.parametrize(
    ("user", "number", "kind"),
    [
        (1000, 95, Kind.NOT_PERMITTED),
        (1000, 13, Kind.NOT_PERMITTED),
        (1000, 110, Kind.EXTERNAL_FAILURE),
        (0, 95, Kind.EXTERNAL_FAILURE),
    ],
)
def test_who_is_not_root_is_told_so(monkeypatch, user, number, kind):
    error = type("Error", (Exception,), {"errno": number})

    def connect():
        raise error("[errno 95] error connecting")

    rados = SimpleNamespace(Error=error, Rados=lambda **_: SimpleNamespace(connect=connect))
    monkeypatch.setitem(sys.modules, "rados", rados)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(VmMgrError) as caught:
        assert Connection("ceph.conf", "vm-mgr", "rbd").cluster
    assert (caught.value.kind, bool(caught.value.hint)) == (kind, True)

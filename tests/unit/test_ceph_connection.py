"""How the connection to Ceph fails."""

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

"""One VM of Ceph's pool is looked for without reading the names of all."""

import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from vm_mgr.adapters.ceph.listing import group_names, is_group
from vm_mgr.model.vm import VmName

from .ceph_objects import RADOS

NAMES = ("web1", "web10", "web1-old", *(f"many{number}" for number in range(3000)))


@pytest.fixture
def connection(monkeypatch):
    monkeypatch.setitem(sys.modules, "rados", SimpleNamespace(**vars(RADOS), ReadOpCtx=nullcontext))
    kept = {f"name_{name}": b"\x02\0\0\0id" for name in NAMES} | {"id_id": b"\x04\0\0\0web1"}
    sent = []

    def get_omap_vals(_operation, after, prefix, most):
        page = sorted(key for key in kept if key > after and key.startswith(prefix))[:most]
        sent.extend(page)
        return [(key, kept[key]) for key in page], 0

    ioctx = SimpleNamespace(get_omap_vals=get_omap_vals, operate_read_op=lambda _operation, _key: None)
    return SimpleNamespace(ioctx=ioctx, silent=None, sent=sent)


@pytest.mark.parametrize(("name", "there"), [("web1", True), ("web", False), ("web2", False), ("id", False)])
def test_group_is_looked_for_alone(connection, name, there):
    assert is_group(connection, VmName(name)) is there
    assert len(connection.sent) <= 3


def test_all_are_named(connection):
    assert group_names(connection) == set(NAMES)

"""Who is at a VM is told by both ledgers, also where it is a command of an older version."""

import struct
import sys
from types import SimpleNamespace

import pytest

from vm_mgr.adapters.ceph.intent_log import CephIntentLog
from vm_mgr.adapters.shared_dir.intent_log import SharedIntentLog
from vm_mgr.adapters.shared_dir.mount import Mount
from vm_mgr.errors import BusyError


class Busy(Exception):  # noqa: N818
    """As rados calls it."""


class Leases:
    def now(self):
        return 1.0

    def hold(self, *_):
        pass

    def release(self, *_):
        pass


class Pool:
    """cls_lock as far as it is asked, with its answer's binary dress around the cookie."""

    def __init__(self):
        self.cookies = {}

    def lock_exclusive(self, _object, name, cookie, **_):
        if self.cookies.setdefault(name, cookie) != cookie:
            raise Busy

    def unlock(self, _object, name, _cookie):
        del self.cookies[name]

    def execute(self, _object, group, method, asked):
        assert (group, method) == ("lock", "get_info")
        version, compat, length, size = struct.unpack("<BBII", asked[:10])
        assert (version, compat, length, len(asked)) == (1, 1, size + 4, size + 10)
        cookie = self.cookies[asked[10:].decode()].encode()
        return 0, b"\1\1\x99\0\0\0\1\0\0\0" + struct.pack("<I", len(cookie)) + cookie + b"\0\1\xff"


@pytest.fixture
def pool(monkeypatch):
    rados = SimpleNamespace(ObjectBusy=Busy, ObjectExists=Busy, ObjectNotFound=Busy, Error=Busy)
    monkeypatch.setitem(sys.modules, "rados", rados)
    return Pool()


def test_ceph_tells_it(pool):
    connection = SimpleNamespace(ioctx=pool, leases=Leases())
    intent_log = CephIntentLog(connection, doing=lambda: "create-snapshot")
    with intent_log.lock("web1"), pytest.raises(BusyError) as caught, intent_log.lock("web1"):
        pass
    assert caught.value.who.startswith("create-snapshot on ")
    assert "since" in caught.value.message
    with intent_log.lock("web1"):
        pass


def test_ceph_tells_of_an_older_version_what_it_knows(pool):
    pool.cookies["web1"] = "n2 77 0123abcd"
    connection = SimpleNamespace(ioctx=pool, leases=Leases())
    with pytest.raises(BusyError) as caught, CephIntentLog(connection).lock("web1"):
        pass
    assert caught.value.who == "on n2, process 77"


def test_directory_tells_it(tmp_path):
    mount = Mount(tmp_path)
    mount.locks.mkdir(parents=True)
    mount.marker.write_text("")
    ledgers = [SharedIntentLog(mount, doing=lambda: "clone"), SharedIntentLog(mount, doing=lambda: "stop")]
    for _ in range(2):
        with ledgers[0].lock("web1"), pytest.raises(BusyError) as caught, ledgers[1].lock("web1"):
            pass
        assert caught.value.who.startswith("clone on ")
    with ledgers[1].lock("web1"), pytest.raises(BusyError) as caught, ledgers[0].lock("web1"):
        pass
    assert caught.value.who.startswith("stop on ")

"""Leases that virtlockd keeps beyond the end of their process, and who lets go of them."""

import hashlib
import socket
import struct
import threading
from types import SimpleNamespace

import pytest

from vm_mgr.agent import disk_leases, identity, state_files
from vm_mgr.agent.disk_locks import NodePaths

LEASE, OTHER = (hashlib.sha256(one).hexdigest() for one in (b"/srv/vms/web1/disk", b"/srv/vms/web2/disk"))
SERVICE, ENDED, ALIVE = 58, 1085, 2000


class Virtlockd(threading.Thread):
    """The service: owners by lease, as it was told by libvirt."""

    def __init__(self, path, leases):
        super().__init__(daemon=True)
        self.leases, self.released, self.mute = leases, [], False
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen()

    def run(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            with client:
                owner = None
                while not self.mute and (call := self.take(client)):
                    procedure, serial, arguments = call
                    if procedure == 1:
                        owner = struct.unpack(">I", arguments[-8:-4])[0]
                        done = struct.unpack(">I", arguments[-12:-8])[0] != 0
                    else:
                        name = arguments[-72:-8].decode()
                        done = self.leases.get(name) == owner
                        if done:
                            self.released.append(name)
                    header = struct.pack(">IIIIII", 0xEA7BEEF, 1, procedure, 1, serial, 0 if done else 1)
                    answer = header + (b"" if done else b"an error")
                    client.sendall(struct.pack(">I", len(answer) + 4) + answer)

    @staticmethod
    def take(client):
        length = client.recv(4, socket.MSG_WAITALL)
        if not length:
            return None
        message = client.recv(struct.unpack(">I", length)[0] - 4, socket.MSG_WAITALL)
        program, version, procedure, kind, serial, _status = struct.unpack(">IIIIII", message[:24])
        assert (program, version, kind) == (0xEA7BEEF, 1, 0)
        return procedure, serial, message[24:] + bytes(4 if procedure == 7 else 0)


@pytest.fixture
def places(tmp_path):
    folder = tmp_path / "leases"
    for one in ("etc", f"proc/{SERVICE}/fd", f"proc/{ALIVE}", "run/libvirt", "leases"):
        (tmp_path / one).mkdir(parents=True)
    (tmp_path / "etc/qemu-lockd.conf").write_text(f'file_lockspace_dir = "{folder}"\n')
    (tmp_path / "run/virtlockd.pid").write_text(f"{SERVICE}\n")
    for number, target in enumerate((folder / LEASE, folder / OTHER, "/dev/null", "socket:[7]")):
        (tmp_path / f"proc/{SERVICE}/fd/{number}").symlink_to(target)
    return NodePaths(etc=tmp_path / "etc", proc=tmp_path / "proc", run=tmp_path / "run")


@pytest.fixture
def virtlockd(places):
    service = Virtlockd(places.run / "libvirt/virtlockd-sock", {LEASE: ENDED, OTHER: ALIVE})
    service.start()
    yield service
    service.socket.shutdown(socket.SHUT_RDWR)
    service.socket.close()
    service.join()


def test_what_is_held_is_seen_without_asking(places):
    assert sorted(disk_leases.held(places)) == sorted([LEASE, OTHER])


@pytest.mark.parametrize("lacking", ["run/virtlockd.pid", "etc/qemu-lockd.conf"])
def test_node_without_leases_holds_none(places, lacking):
    (places.run.parent / lacking).unlink()
    assert list(disk_leases.held(places)) == []
    assert disk_leases.release(places, ENDED) == []


def test_lease_of_a_process_that_has_ended_is_released_and_no_other(places, virtlockd):
    assert disk_leases.release(places, ENDED) == [LEASE]
    assert virtlockd.released == [LEASE]


def test_living_process_keeps_its_leases_whoever_it_is(places, virtlockd):
    assert disk_leases.release(places, ALIVE) == []
    assert virtlockd.released == []


@pytest.fixture
def env(tmp_path, places, monkeypatch):
    monkeypatch.setattr(NodePaths, "from_environment", classmethod(lambda _: places))
    said = []
    journal = SimpleNamespace(say=lambda text, warning: said.append(text))
    return SimpleNamespace(state_dir=tmp_path, journal=journal, said=said)


@pytest.mark.parametrize("kind", ["running", "ended"])
def test_stop_knows_the_process_that_the_monitor_saw_last(env, virtlockd, kind):
    state_files.write(env, kind, "web1", f"{ENDED} 777 -\n")
    disk_leases.let_go(env, "web1", None)
    assert virtlockd.released == [LEASE]
    assert "1 leases" in env.said[0]


def test_stop_of_what_was_never_seen_asks_nobody(env, virtlockd):
    assert identity.last_pid(env, "web1") is None
    disk_leases.let_go(env, "web1", None)
    assert (virtlockd.released, env.said) == ([], [])


def test_service_that_does_not_answer_fails_no_stop(env, virtlockd, capsys, monkeypatch):
    virtlockd.mute = True
    monkeypatch.setattr(disk_leases, "TIMEOUT_S", 0.2)
    disk_leases.let_go(env, "web1", ENDED)
    assert "may be left" in capsys.readouterr().err
    assert not env.said

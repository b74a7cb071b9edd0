"""The connections over which a QEMU sends its guest away."""

import socket
import subprocess
from contextlib import ExitStack
from os import getpid

import pytest

from vm_mgr.adapters.libvirt.streams import end_streams, streams
from vm_mgr.errors import Kind, VmMgrError

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def row(ours, theirs, inode):
    ends = f"0B0200C0:{ours:04X} 0C0200C0:{theirs:04X}"
    return f"   0: {ends} 01 00000000:00000000 00:00000000 00000000  0 0 {inode} 1 0 20 4\n"


@pytest.fixture
def proc(tmp_path):
    """Give a QEMU with two streams, Ceph and a file; the last row is another process'."""
    fds, net = tmp_path / "77" / "fd", tmp_path / "77" / "net"
    fds.mkdir(parents=True)
    net.mkdir()
    for number, target in enumerate(("socket:[11]", "socket:[12]", "socket:[13]", "/dev/null", "pipe:[15]")):
        (fds / str(number)).symlink_to(target)
    rows = [row(40000, 49152, 11), row(40001, 6801, 12), row(40002, 49160, 14)]
    (net / "tcp").write_text(HEAD + "".join(rows))
    (net / "tcp6").write_text(HEAD + row(40003, 49215, 13))
    return tmp_path


class Runner:
    """Notes what is run."""

    def __init__(self, failure=None):
        self.failure = failure
        self.ran = []

    def run(self, argv, *, timeout_s):
        self.ran.append(" ".join(argv))
        if self.failure:
            raise self.failure


def test_only_the_own_ones_to_where_migrations_arrive(proc):
    assert list(streams(77, proc=proc)) == [(40000, 49152), (40003, 49215)]


def test_each_is_ended_by_both_of_its_ports(proc):
    runner = Runner()
    assert end_streams(runner, 77, proc=proc) == 2
    assert runner.ran == [
        "ss --kill --tcp --numeric sport = :40000 and dport = :49152",
        "ss --kill --tcp --numeric sport = :40003 and dport = :49215",
    ]


def test_program_that_is_missing_is_no_failure(proc):
    assert end_streams(Runner(VmMgrError(Kind.ENVIRONMENT, "no ss")), 77, proc=proc) == 2


def test_process_that_has_ended_has_none(proc):
    assert list(streams(78, proc=proc)) == []


def test_real_table_of_this_process_is_read():
    with ExitStack() as opened:
        for port in range(49152, 49216):
            listening = opened.enter_context(socket.socket())
            try:
                listening.bind(("127.0.0.1", port))
            except OSError:
                continue
            listening.listen()
            client = opened.enter_context(socket.create_connection(("127.0.0.1", port)))
            assert (client.getsockname()[1], port) in list(streams(getpid()))
            return
    pytest.fail("no port is free")


def test_ss_understands_the_words():
    """Without --kill, which would need root."""
    words = ["ss", "--tcp", "--numeric", "sport", "=", ":40000", "and", "dport", "=", ":49152"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")

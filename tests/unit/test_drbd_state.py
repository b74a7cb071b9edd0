"""DRBD's state on a node, as the 8.4 module and the 9 module tell it."""

import json

import pytest

from vm_mgr.adapters.host.drbd import HostDisks, parse_proc, parse_status
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.peer_fence import Data, Local
from vm_mgr.ocf.drbd import peer_name
from vm_mgr.ports.runner import Completed

PROC = """version: 8.4.11 (api:1/proto:86-101)
srcversion: 1234567890ABCDEF
 3: cs:{0} ro:{1} ds:{2} C r-----
    ns:0 nr:0 dw:0 dr:2120 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:0
 4: cs:{0} ro:{1} ds:UpToDate/UpToDate C r-----
    ns:0 nr:0 dw:0 dr:2120 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:0
13: cs:Unconfigured
14: cs:Connected ro:Primary/Secondary ds:Inconsistent/Inconsistent C r-----
"""


@pytest.mark.parametrize(
    ("state", "roles", "disks", "seen"),
    [
        ("Connected", "Primary/Secondary", "UpToDate/UpToDate", Local(True, Data.UP_TO_DATE, True)),
        ("Connected", "Secondary/Primary", "UpToDate/UpToDate", Local(False, Data.UP_TO_DATE, True)),
        ("WFConnection", "Primary/Unknown", "UpToDate/DUnknown", Local(True, Data.UP_TO_DATE, False)),
        ("WFConnection", "Secondary/Unknown", "Consistent/DUnknown", Local(False, Data.CONSISTENT, False)),
        ("StandAlone", "Secondary/Unknown", "Outdated/DUnknown", Local(False, Data.WORSE, False)),
        ("SyncTarget", "Secondary/Primary", "Inconsistent/UpToDate", Local(False, Data.WORSE, False)),
        ("SyncSource", "Primary/Secondary", "UpToDate/Inconsistent", Local(True, Data.UP_TO_DATE, False)),
        ("Connected", "Primary/Secondary", "Diskless/UpToDate", Local(True, Data.WORSE, True)),
        # What was up to date when the link broke is so still in the peer's words.
        ("NetworkFailure", "Primary/Unknown", "UpToDate/UpToDate", Local(True, Data.UP_TO_DATE, False)),
    ],
)
def test_worst_of_all_volumes_counts(state, roles, disks, seen):
    assert parse_proc(PROC.format(state, roles, disks), ("3", "4")) == seen


@pytest.mark.parametrize("minors", [(), ("3", "5"), ("13",), ("1",)])
def test_what_is_not_there_is_worse(minors):
    text = PROC.format("Connected", "Primary/Secondary", "UpToDate/UpToDate")
    assert parse_proc(text, minors) == Local(False, Data.WORSE, False)


def status(disk="UpToDate", connection="Connected", peer="UpToDate", role="Primary"):
    return json.dumps(
        [
            {
                "name": "web1",
                "role": role,
                "devices": [
                    {"volume": 0, "minor": 3, "disk-state": disk},
                    {"volume": 1, "disk-state": "UpToDate"},
                ],
                "connections": [
                    {
                        "name": "n2",
                        "connection-state": connection,
                        "peer_devices": [
                            {"volume": 0, "peer-disk-state": peer},
                            {"volume": 1, "peer-disk-state": "UpToDate"},
                        ],
                    }
                ],
            }
        ]
    )


def test_json_of_the_9_module_means_the_same():
    assert parse_status(status(), "web1") == Local(True, Data.UP_TO_DATE, True)
    cut = status(connection="Connecting", peer="DUnknown", role="Secondary", disk="Consistent")
    assert parse_status(cut, "web1") == Local(False, Data.CONSISTENT, False)
    assert parse_status(status(disk="Outdated"), "web1").data is Data.WORSE
    assert not parse_status(status(peer="Outdated"), "web1").peer_up_to_date
    for text in (
        "",
        "{}",
        "[]",
        "[1]",
        status().replace("disk-state", "x"),
        status().replace("web1", "web2"),
    ):
        assert parse_status(text, "web1") == Local(False, Data.WORSE, False)


class Runner:
    def __init__(self, text, exit_code=0):
        self.text, self.exit_code, self.calls = text, exit_code, []

    def run(self, argv, *, timeout_s, stdin=None, on_line=None):
        self.calls.append(argv)
        if self.text is None:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "hangs")
        return Completed(tuple(argv), self.exit_code, self.text, "")


def test_module_in_the_kernel_says_how_it_is_asked(tmp_path):
    (tmp_path / "drbd").write_text(PROC.format("Connected", "Primary/Secondary", "UpToDate/UpToDate"))
    runner = Runner(status(disk="Outdated"))
    assert HostDisks(runner, tmp_path).read("web1", ("3", "4")).data is Data.UP_TO_DATE
    assert runner.calls == [], "by netlink it could wait for who waits for it"
    (tmp_path / "drbd").write_text(
        "version: 9.2.12 (api:2/proto:86-122)\nTransports (api:21): tcp (9.2.12)\n"
    )
    assert HostDisks(runner, tmp_path).read("web1", ("3", "4")).data is Data.WORSE
    assert runner.calls == [("drbdsetup", "status", "web1", "--json")]


def test_what_can_not_be_asked_is_worse(tmp_path):
    assert HostDisks(Runner(""), tmp_path).read("web1", ("3",)).data is Data.WORSE
    (tmp_path / "drbd").write_text("version: 9.2.12\n")
    for runner in (Runner(None), Runner(status(), exit_code=10)):
        assert HostDisks(runner, tmp_path).read("web1", ("3",)).data is Data.WORSE
        assert HostDisks(runner, tmp_path).minors("web1") == ()


def test_minors_are_those_of_the_configuration_that_drbdadm_has_read(tmp_path):
    runner = Runner("3\n4\n")
    assert HostDisks(runner, tmp_path, "/etc/other.conf").minors("web1") == ("3", "4")
    assert runner.calls == [("drbdadm", "--config-file", "/etc/other.conf", "sh-minor", "web1")]


def test_peer_that_is_not_clear_has_no_name():
    assert peer_name({}) == ""
    assert peer_name({"DRBD_PEERS": "n2 n3"}) == ""
    names = {"DRBD_NODE_ID_0": "n1", "DRBD_NODE_ID_1": "n2", "DRBD_NODE_ID_2": "n3", "DRBD_MY_NODE_ID": "0"}
    assert peer_name(names) == ""
    assert peer_name({**names, "DRBD_PEER_NODE_ID": "2"}) == "n3"

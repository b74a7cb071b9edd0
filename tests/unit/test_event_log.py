"""Where events are kept, and for how long; and the command that shows them."""

import json
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from vm_mgr.adapters.ceph import event_log as in_ceph
from vm_mgr.adapters.shared_dir import event_log as in_directory
from vm_mgr.adapters.shared_dir.event_log import SharedEventLog
from vm_mgr.adapters.shared_dir.mount import Mount
from vm_mgr.cli.app import app
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations.events import events

from .conftest import DOMAIN

EVENT = Event(1000.0, EventKind.STARTING, "web1", "n1")


def at(when_utc):
    return EVENT._replace(when_utc=float(when_utc))


class NotFound(Exception):  # noqa: N818 - as librados calls it
    pass


class Pool:
    """The omap of one object, and as much of rados' Python binding as is used for it; 3 keys at a time."""

    Error = type("Error", (Exception,), {})

    def __init__(self):
        self.omap = None
        self.failing = False
        self.ObjectNotFound = type("ObjectNotFound", (self.Error,), {})

    @contextmanager
    def WriteOpCtx(self):  # noqa: N802
        yield []

    ReadOpCtx = WriteOpCtx

    def set_omap(self, operation, keys, values):
        operation.append(lambda: (self.omap or {}) | dict(zip(keys, values, strict=True)))

    def remove_omap_keys(self, operation, keys):
        operation.append(lambda: {key: value for key, value in self.omap.items() if key not in keys})

    def operate_write_op(self, operation, name):
        assert name == "vm-mgr.events"
        if self.failing:
            raise self.Error("timed out")
        for change in operation:
            self.omap = change()

    def get_omap_vals(self, operation, after, prefix, most):
        assert most > 0
        known = sorted(key for key in self.omap or {} if key > after and key.startswith(prefix))[:3]
        return [(key, self.omap[key]) for key in known], 0

    def operate_read_op(self, operation, name):
        if self.failing:
            raise self.Error("timed out")
        if self.omap is None:
            raise self.ObjectNotFound("no object")


@pytest.fixture
def pool(monkeypatch):
    made = Pool()
    monkeypatch.setitem(sys.modules, "rados", made)
    return made


@pytest.fixture
def ceph(pool):
    return in_ceph.CephEventLog(SimpleNamespace(ioctx=pool))


class TestCeph:
    def test_events_are_read_page_by_page_in_order(self, ceph):
        ceph.append([at(when) for when in (8, 3, 5, 1, 9, 2, 7)])
        assert [event.when_utc for event in ceph.read()] == [1, 2, 3, 5, 7, 8, 9]
        assert [event.when_utc for event in ceph.read(5.0)] == [5, 7, 8, 9]

    def test_nothing_was_ever_kept(self, ceph):
        assert ceph.read() == []

    def test_oldest_are_forgotten(self, ceph, pool, monkeypatch):
        monkeypatch.setattr(in_ceph, "KEEP", 10)
        ceph.append([at(when) for when in range(in_ceph.SLACK)])  # so many at once prune for certain
        assert [event.when_utc for event in ceph.read()] == list(range(in_ceph.SLACK - 10, in_ceph.SLACK))

    def test_events_of_a_newer_vm_mgr_are_passed_over(self, ceph, pool):
        ceph.append([EVENT])
        pool.omap["00000001000001-n1-x"] = b'{"kind": "melted", "when_utc": 1000.001, "subject": "n1"}'
        assert ceph.read() == [EVENT]

    @pytest.mark.parametrize("act", [lambda kept: kept.append([EVENT]), lambda kept: kept.read()])
    def test_ceph_that_does_not_answer_is_a_failure(self, ceph, pool, act):
        pool.failing = True
        with pytest.raises(VmMgrError) as caught:
            act(ceph)
        assert caught.value.kind is Kind.EXTERNAL_FAILURE


class TestDirectory:
    @pytest.fixture
    def mount(self, tmp_path):
        mount = Mount(tmp_path)
        mount.initialise()
        return mount

    def test_each_node_has_its_file(self, mount):
        kept = SharedEventLog(mount)
        kept.append([at(2), at(1)._replace(node="n2"), at(3)])
        assert sorted(path.name for path in mount.events.iterdir()) == ["n1.jsonl", "n2.jsonl"]
        assert [event.when_utc for event in kept.read()] == [1, 2, 3]

    def test_directory_of_an_earlier_vm_mgr_is_read_as_empty(self, mount):
        assert SharedEventLog(mount).read() == []
        assert not mount.events.exists()

    def test_files_are_turned_over_once_they_are_full(self, mount, monkeypatch):
        monkeypatch.setattr(in_directory, "FULL_BYTES", 1000)
        kept = SharedEventLog(mount)
        for when in range(200):
            kept.append([at(when)])
        times = [event.when_utc for event in kept.read()]
        assert times == list(range(int(times[0]), 200))
        assert 10 < len(times) < 40
        assert sum(path.stat().st_size for path in mount.events.iterdir()) < 2500

    def test_line_that_was_cut_is_passed_over(self, mount):
        kept = SharedEventLog(mount)
        kept.append([EVENT])
        with (mount.events / "n1.jsonl").open("a") as file:
            file.write('{"when_utc": 10')
        assert kept.read() == [EVENT]

    def test_directory_that_is_not_mounted_is_a_failure(self, tmp_path):
        with pytest.raises(VmMgrError) as caught:
            SharedEventLog(Mount(tmp_path)).append([EVENT])
        assert caught.value.kind is Kind.EXTERNAL_FAILURE


class TestCommand:
    @pytest.fixture
    def show(self, env):
        now = env.clock.utc()
        env.event_log.append(
            [
                Event(now - 9000, EventKind.STARTING, "old", "n1"),
                Event(now - 60, EventKind.LOST, "n2", "n1", vms=("web1", "web2")),
                Event(now - 58.5, EventKind.FENCED, "n2", "n1", "by n3"),
                Event(now - 57, EventKind.RUNNING, "web1", "n3", waited={"disk": 300}),
            ]
        )

        def run(*arguments):
            done = CliRunner(mix_stderr=False).invoke(app, ["events", *arguments], obj=env)
            assert done.exit_code == 0, done.stderr
            return done.stdout

        return run

    def test_time_of_an_operation_is_not_called_waiting(self, show, env):
        env.event_log.append([Event(env.clock.utc(), EventKind.STOPPED, "web1", "n1", waited={"stop": 404})])
        assert show("web1", "--since", "1h").splitlines()[3].split()[4:] == ["stopped", "in", "404", "ms"]
        assert json.loads(show("web1", "-o", "json"))["events"][-1]["waited_ms"] == {"stop": 404}

    def test_table_and_timeline(self, show):
        lines = show("--since", "1h").splitlines()
        assert lines[0].split() == ["TIME", "NODE", "SUBJECT", "EVENT", "WHAT"]
        assert [line.split()[4] for line in lines[1:4]] == ["lost", "fenced", "running"]
        assert "had web1, web2" in lines[1]
        assert lines[5].startswith("failover of n2, lost at ")
        assert [line.split()[:4] for line in lines[6:9]] == [
            ["0", "ms", "n2", "lost"],
            ["1500", "ms", "n2", "fenced"],
            ["3000", "ms", "web1", "running"],
        ]
        assert "(+1500 ms; waited 300 ms for disk)" in lines[8]
        assert "web2 has not been seen to start" in lines[9]
        assert "web2" in lines[9]

    @pytest.mark.parametrize(
        ("name", "seen", "failovers"), [("web1", 2, 1), ("n2", 2, 1), ("web2", 1, 1), ("old", 0, 0)]
    )
    def test_one_vm_or_node(self, show, name, seen, failovers):
        told = json.loads(show(name, "--since", "1h", "-o", "json"))
        assert (len(told["events"]), len(told["failovers"])) == (seen, failovers)

    def test_name_of_nothing_is_not_found_but_what_has_no_events_yet_is(self, show, env):
        with env.storage.stage("new") as staged:
            staged.add(1 << 20)
            staged.describe(xml=DOMAIN, base_xml=DOMAIN, settings=VmSettings(), notes={})
            staged.commit()
        for name in ("new", "n3"):
            assert json.loads(show(name, "-o", "json"))["events"] == []
        with pytest.raises(VmMgrError) as caught:
            events(env, "nope", since_s=60)
        assert caught.value.kind is Kind.NOT_FOUND

    def test_since(self, show):
        assert len(json.loads(show("--since", "7d", "-o", "json"))["events"]) == 4
        assert json.loads(show("--since", "5s", "-o", "json")) == {"events": [], "failovers": []}

    def test_times_have_milliseconds(self, show):
        told = json.loads(show("--since", "1h", "-o", "json"))
        assert told["events"][1]["time"] == "1970-01-12T13:45:41.500Z"

    @pytest.mark.parametrize("wrong", ["", "1", "h", "1w", "-1h", "1.5h"])
    def test_nonsense_is_refused(self, env, wrong):
        assert CliRunner().invoke(app, ["events", "--since", wrong], obj=env).exit_code == 2

    def test_storage_out_of_reach_is_an_error(self, env):
        env.event_log.hanging = True
        assert CliRunner().invoke(app, ["events"], obj=env).exit_code == 11


@pytest.mark.parametrize("missing", ["quorum", "storage"])
def test_who_cannot_read_the_events_is_told_where_this_node_has_its_own(env, missing):
    if missing == "quorum":
        env.cluster.quorate = False
    else:
        env.event_log.hanging = True
    with pytest.raises(VmMgrError) as caught:
        events(env, since_s=60)
    assert caught.value.hint.endswith("this node's own events: journalctl -t vm-mgr")

"""Locks, intents and definitions in a CIB: Pacemaker's own tools change it, in a file (CIB_file)."""

import os
import subprocess

import pytest

from tests.contract.conftest import MemoryCib
from vm_mgr.adapters.host.clock import SystemClock
from vm_mgr.adapters.memory.cluster import MemoryCluster
from vm_mgr.adapters.pacemaker.cib import Cib
from vm_mgr.adapters.pacemaker.cib_definitions import CibDefinitions
from vm_mgr.adapters.pacemaker.cib_intent_log import CibIntentLog
from vm_mgr.adapters.pacemaker.cib_records import LOCKS, read_records, write_record
from vm_mgr.errors import BusyError, Kind, VmMgrError
from vm_mgr.model.cluster import Fencing
from vm_mgr.model.intent import Intent
from vm_mgr.model.lock_owner import LockOwner
from vm_mgr.ports.runner import Completed
from vm_mgr_lab.scenario.simulate import with_tools

NAME = "web1"
EMPTY = """<cib admin_epoch="0" epoch="1" num_updates="0" validate-with="pacemaker-3.7"
crm_feature_set="3.10.0"><configuration><crm_config/><nodes/><resources/><constraints/></configuration><status/></cib>"""


class Tools:
    """Run Pacemaker's tools on one file, as on one cluster."""

    def __init__(self, path):
        self.path = path
        self.before_patch = lambda: None

    def run(self, argv, *, timeout_s, stdin=None, on_line=None):
        if "--patch" in argv:
            self.before_patch()
        line = with_tools(argv, self.path)
        done = subprocess.run(
            line, check=False, input=stdin, capture_output=True, text=True, timeout=timeout_s
        )
        return Completed(tuple(argv), done.returncode, done.stdout, done.stderr)


@pytest.fixture
def tools(tmp_path):
    path = tmp_path / "cib.xml"
    path.write_text(EMPTY)
    return Tools(path)


@pytest.fixture
def cib(tools):
    return Cib(tools, SystemClock())


@pytest.fixture
def cluster():
    return MemoryCluster(local="n1")


BIRTHS = {("n1", os.getpid()): "10", ("n1", 7): "11", ("n2", 7): "12"}


class Processes:
    """Those of n1."""

    def birth(self, pid):
        return BIRTHS.get(("n1", pid), "")

    def has_ended(self, pid, birth):
        return self.birth(pid) != birth


def ended_at(node, pid, birth):
    if node == "n3":
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "no ssh")
    return BIRTHS.get((node, pid), "") != birth


def log_in(cib, cluster):
    return CibIntentLog(cib, cluster, SystemClock(), Processes(), ended_at, doing=lambda: "clone")


def put(cib, owner):
    """Lock the name for another process."""
    cib.edit(lambda whole: write_record(whole, LOCKS, NAME, owner.written()))


def is_free(log):
    try:
        with log.lock(NAME):
            return True
    except BusyError:
        return False


class TestLocks:
    def test_lock_is_in_the_cib_while_it_is_held_and_leaves_nothing(self, cib, cluster, tools):
        before = tools.run(("cibadmin", "--query", "--scope", "configuration"), timeout_s=10).stdout
        with log_in(cib, cluster).lock(NAME):
            (raw,) = read_records(cib.read(), LOCKS).values()
            assert '"node": "n1"' in raw
            done = tools.run(("crm_verify", "--xml-file", str(tools.path), "-V"), timeout_s=10)
            assert "schema" not in done.stdout + done.stderr
        assert tools.run(("cibadmin", "--query", "--scope", "configuration"), timeout_s=10).stdout == before

    def test_another_object_of_this_process_is_kept_out(self, cib, cluster):
        with log_in(cib, cluster).lock(NAME):
            with pytest.raises(BusyError) as caught, log_in(cib, cluster).lock(NAME):
                pass
            assert caught.value.kind is Kind.TRY_LATER
            assert "clone on n1" in caught.value.who
        assert is_free(log_in(cib, cluster))

    @pytest.mark.parametrize(
        ("owner", "free"),
        [
            (LockOwner("n1", 7, "11", "aa"), False),
            (LockOwner("n1", 7, "9", "aa"), True),  # the PID is another process's now
            (LockOwner("n1", 8, "9", "aa"), True),
            (LockOwner("n1", os.getpid(), "10", "aa"), True),  # ours, and we do not have it
            (LockOwner("n2", 7, "12", "aa"), False),
            (LockOwner("n2", 7, "9", "aa"), True),
            (LockOwner("n3", 7, "13", "aa"), False),  # online, but it can't be asked
            (LockOwner("n4", 7, "13", "aa"), False),  # no node of the cluster
        ],
    )
    def test_lock_ends_with_its_process_and_only_when_that_is_certain(self, cib, cluster, owner, free):
        put(cib, owner)
        assert is_free(log_in(cib, cluster)) is free

    @pytest.mark.parametrize(
        ("change", "fenced", "free"),
        [
            ({"online": False, "unclean": True}, False, False),
            ({"online": False}, False, False),  # it has left in good order, and its command may run on
            ({"online": False}, True, True),
            ({"online": False, "pending": True}, True, False),
        ],
    )
    def test_lock_of_a_node_that_is_gone_ends_with_its_fencing(self, cib, cluster, change, fenced, free):
        put(cib, LockOwner("n2", 7, "12", "aa"))
        cluster.nodes["n2"] = cluster.nodes["n2"]._replace(**change)
        cluster.joined_since = set() if fenced else {"n2"}
        if fenced:
            cluster.fencings.append(Fencing("n2", succeeded=True))
        assert is_free(log_in(cib, cluster)) is free

    def test_process_that_nobody_can_see_locks_nothing(self, cib, cluster):
        log = log_in(cib, cluster)
        log.processes.birth = lambda _: ""
        with pytest.raises(VmMgrError) as caught, log.lock(NAME):
            pass
        assert caught.value.kind is Kind.ENVIRONMENT
        assert read_records(cib.read(), LOCKS) == {}

    def test_what_nobody_can_read_keeps_everybody_out(self, cib, cluster):
        cib.edit(lambda whole: write_record(whole, LOCKS, NAME, "another version"))
        with pytest.raises(BusyError) as caught, log_in(cib, cluster).lock(NAME):
            pass
        assert "crm_attribute" in caught.value.hint

    def test_of_many_at_once_one_gets_it(self, cib, cluster, tools):
        """A patch that was made from an older version is refused: the loser reads again."""
        put(cib, LockOwner("n1", 8, "9", "dead"))
        first, other = log_in(cib, cluster), LockOwner("n2", 7, "12", "winner")

        def come_first():
            tools.before_patch = lambda: None
            put(Cib(tools, SystemClock()), other)

        tools.before_patch = come_first
        assert not is_free(first)
        assert read_records(cib.read(), LOCKS) == {NAME: other.written()}


class TestIntents:
    def test_intent_needs_the_lock_that_was_taken(self, cib, cluster):
        log = log_in(cib, cluster)
        with log.lock(NAME):
            log.write(NAME, Intent("create", "n1"))
            put(cib, LockOwner("n2", 7, "12", "another"))
            for change in (lambda: log.write(NAME, Intent("remove")), lambda: log.erase(NAME)):
                with pytest.raises(VmMgrError) as caught:
                    change()
                assert caught.value.kind is Kind.TRY_LATER
        assert log.intents() == {NAME: Intent("create", "n1")}
        assert read_records(cib.read(), LOCKS) != {}

    def test_change_of_something_else_on_the_way_is_kept(self, cib, cluster, tools):
        def come_first():
            tools.before_patch = lambda: None
            CibDefinitions(Cib(tools, SystemClock())).describe("db1", {"xml": "<domain/>"})

        tools.before_patch = come_first
        log = log_in(cib, cluster)
        log.write(NAME, Intent("create", "n1", details={"source": 'a "b"\n'}))
        assert log.intents()[NAME].details == {"source": 'a "b"\n'}
        assert CibDefinitions(cib).names() == {"db1"}


class TestDefinitions:
    TEXT = "<domain>\n\t<name>größe &amp; \"x\" 'y'</name>\n</domain>\n"

    def test_definition_survives_pacemakers_own_tools(self, cib, tools):
        store = CibDefinitions(cib)
        store.describe(NAME, {"xml": self.TEXT})
        store.describe("a.b", {"xml": "other"})
        tools.run(("cibadmin", "--upgrade", "--force"), timeout_s=10)
        assert store.metadata(NAME) == {"xml": self.TEXT}
        assert store.names() == {NAME, "a.b"}

    @pytest.mark.parametrize(("present", "size"), [(0, 70_000), (34, 30_000)])
    def test_too_much_text_is_refused_and_changes_nothing(self, present, size):
        store = CibDefinitions(MemoryCib())
        for number in range(present):
            store.describe(f"vm{number}", {"xml": "x" * size})
        with pytest.raises(VmMgrError) as caught:
            store.describe(NAME, {"note": "short", "xml": "x" * size})
        assert caught.value.kind is Kind.NO_RESOURCES
        assert len(store.names()) == present

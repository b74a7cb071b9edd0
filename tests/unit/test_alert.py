"""From an alert of Pacemaker to what is done and kept: the agent under a node's shells, the service."""

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from vm_mgr.adapters.host.journal import MESSAGE_ID, PIPE_BUF, HostJournal
from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.memory.env import MemoryEnv
from vm_mgr.adapters.memory.storage_fencing import MemoryDaemon
from vm_mgr.alert.__main__ import listen
from vm_mgr.alert.message import read_line
from vm_mgr.alert.service import GUEST_S, KEEP_S, RELEASE_S, Failures, Guests, Keeper, Nodes, Service
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import Failure, Fencing, Node, NodeName, Resource
from vm_mgr.model.event import Event, EventKind, read_event, write_event
from vm_mgr_lab.process import wait_until

AGENT = Path(__file__).parents[2] / "ocf" / "alert"
SHELLS = ("dash", "busybox", "bash")
# What Pacemaker 2.1 and 3.0 set for every alert; without a recipient that variable is empty.
ALWAYS = {
    "CRM_alert_recipient": "",
    "CRM_alert_node_sequence": "42",
    "CRM_alert_timestamp": "00:00:10.250000",
    "CRM_alert_timestamp_epoch": "1000010",
    "CRM_alert_timestamp_usec": "250000",
}
NODE = {"CRM_alert_kind": "node", "CRM_alert_node": "n2", "CRM_alert_nodeid": "2"}
LOST = {**NODE, "CRM_alert_desc": "lost"}
MEMBER = {**NODE, "CRM_alert_desc": "member"}
FENCED = {
    "CRM_alert_kind": "fencing",
    "CRM_alert_node": "n2",
    "CRM_alert_task": "reboot",
    "CRM_alert_rc": "0",
    "CRM_alert_desc": "Operation reboot of n2 by n1 for pacemaker-controld.225@n3: OK (Done) (ref=1a2b)",
}
BY_HAND = "Operation off of n2 by a human for stonith_admin.4@n1: OK (Done) (ref=1a2b)"
NOT_FENCED = {**FENCED, "CRM_alert_rc": "-62", "CRM_alert_desc": "Operation reboot of n2: Timer expired"}
STARTED = {
    "CRM_alert_kind": "resource",
    "CRM_alert_node": "n1",
    "CRM_alert_rsc": "web1",
    "CRM_alert_task": "start",
    "CRM_alert_interval": "0",
    "CRM_alert_target_rc": "0",
    "CRM_alert_status": "0",
    "CRM_alert_rc": "0",
    "CRM_alert_exec_time": "1200",
    "CRM_alert_desc": "ok",
}
MONITOR = {**STARTED, "CRM_alert_task": "monitor", "CRM_alert_interval": "10000", "CRM_alert_exec_time": "0"}
OF_DEVICE = {"CRM_alert_rsc": "vm-mgr-fence-n1"}
ATTRIBUTE = {"CRM_alert_kind": "attribute", "CRM_alert_node": "n1", "CRM_alert_attribute_name": "a|b"}


@pytest.fixture(params=["2.1.5", "3.0.0"])
def version(request):
    return request.param


def spelled(alert, version):
    """Give the environment as a version of Pacemaker does: 2.1 sets the names of older agents, too."""
    alert = {**ALWAYS, **alert, "CRM_alert_version": version}
    old = {key.replace("CRM_alert_", "CRM_notify_"): value for key, value in alert.items()}
    return {**(old if version.startswith("2.") else {}), **alert}


def run_agent(shell, pipe, alert):
    argv = ["busybox", "sh"] if shell == "busybox" else [shell]
    environment = {"PATH": "/nonexistent", "VM_MGR_ALERTS": str(pipe), **alert}
    command = [f"/usr/bin/{argv[0]}", *argv[1:], str(AGENT)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=20)


@pytest.fixture
def pipe(tmp_path):
    path = tmp_path / "alerts"
    os.mkfifo(path)
    return path


@pytest.fixture
def reading(pipe):
    """Hold the pipe open as systemd does."""
    descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    yield lambda: _lines(descriptor)
    os.close(descriptor)


def _lines(descriptor):
    try:
        return os.read(descriptor, 65536).decode(errors="replace").splitlines()
    except BlockingIOError:
        return []


@pytest.mark.parametrize("shell", SHELLS)
class TestAgent:
    def heard(self, shell, pipe, reading, alert, version):
        done = run_agent(shell, pipe, spelled(alert, version))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        lines = reading()
        assert len(lines) <= 1
        return read_line(lines[0]) if lines else None

    @pytest.mark.parametrize(
        ("alert", "kind", "subject"),
        [
            (LOST, EventKind.LOST, "n2"),
            (MEMBER, EventKind.JOINED, "n2"),
            (FENCED, EventKind.FENCED, "n2"),
            (NOT_FENCED, EventKind.FENCING_FAILED, "n2"),
            (STARTED, EventKind.RUNNING, "web1"),
            ({**STARTED, "CRM_alert_task": "stop"}, EventKind.STOPPED, "web1"),
            ({**STARTED, "CRM_alert_task": "migrate_from"}, EventKind.MOVED, "web1"),
            ({**STARTED, "CRM_alert_rc": "1"}, EventKind.FAILED, "web1"),
            ({**STARTED, "CRM_alert_status": "2", "CRM_alert_rc": "1"}, EventKind.FAILED, "web1"),
            ({**MONITOR, "CRM_alert_rc": "7"}, EventKind.FAILED, "web1"),
            ({**MONITOR, **OF_DEVICE, "CRM_alert_rc": "1"}, EventKind.FAILED, "vm-mgr-fence-n1"),
            ({**STARTED, **OF_DEVICE}, EventKind.RUNNING, "vm-mgr-fence-n1"),
        ],
    )
    def test_events_are_heard(self, shell, pipe, reading, version, alert, kind, subject):
        event = self.heard(shell, pipe, reading, alert, version)
        assert (event.kind, event.subject, event.when_utc) == (kind, subject, 1000010.25)

    def test_details_are_kept(self, shell, pipe, reading, version):
        fenced = self.heard(shell, pipe, reading, FENCED, version)
        assert fenced.detail == "switched off and on again by n1, asked by n3"
        by_hand = {**FENCED, "CRM_alert_desc": BY_HAND}
        assert self.heard(shell, pipe, reading, by_hand, version).detail.startswith("confirmed to be off")
        not_fenced = self.heard(shell, pipe, reading, NOT_FENCED, version)
        assert not_fenced.detail == NOT_FENCED["CRM_alert_desc"]
        started = self.heard(shell, pipe, reading, STARTED, version)
        assert (started.node, started.waited) == ("n1", {"start": 1200})
        failed = self.heard(shell, pipe, reading, {**MONITOR, "CRM_alert_rc": "7"}, version)
        assert failed.detail == "monitor: ok (told by Pacemaker)"

    @pytest.mark.parametrize(
        "alert",
        [
            MONITOR,
            ATTRIBUTE,
            {**STARTED, "CRM_alert_rsc": "vm-mgr-node"},
            {**STARTED, "CRM_alert_task": "notify"},
            {**STARTED, "CRM_alert_status": "1"},
            {**MONITOR, "CRM_alert_target_rc": "7"},
            {**FENCED, "CRM_alert_task": "on"},
            {**STARTED, "CRM_alert_task": "migrate_to"},
            {},
        ],
    )
    def test_what_is_of_no_interest_is_dropped(self, shell, pipe, reading, version, alert):
        assert self.heard(shell, pipe, reading, alert, version) is None

    def test_any_text_is_one_line(self, shell, pipe, reading, version):
        text = "a|b * $(id)\n\tc %s \\n" + "ö" * 5000
        event = self.heard(shell, pipe, reading, {**FENCED, "CRM_alert_desc": text}, version)
        assert event.detail.startswith("a|b * $(id) c %s \\nöö")
        assert len(event.detail.encode()) < 2500

    def test_nobody_listening_is_a_failure_and_does_not_hang(self, shell, tmp_path):
        done = run_agent(shell, tmp_path / "none", spelled(LOST, "3.0.0"))
        assert done.returncode == 1
        assert "vm-mgr-alerts.socket" in done.stderr

    def test_pipe_without_a_reader_does_not_hang(self, shell, pipe):
        assert run_agent(shell, pipe, spelled(LOST, "3.0.0")).returncode == 0


def test_reason_of_the_agents_shell_is_a_failure_whatever_its_clock_can():
    for fraction, when in (("250000", 1000.25), ("%6N", 1000.0)):
        event = read_line(f"agent||1000|{fraction}|monitor||web1||||the script said a|b")
        assert event == Event(when, EventKind.FAILED, "web1", detail="monitor: the script said a|b")


@pytest.mark.parametrize(
    "line", ["", "node", "node|n2|x|y|||||||lost", "a|b|1|c|d|e|f|g|h|i|j", "{", "[]", "{}"]
)
def test_lines_of_others_are_no_events(line):
    assert read_line(line) is None


@pytest.fixture
def failover(env):
    """n2, which ran web1, is lost and fenced; the cluster's word comes with the test's own hands."""
    env.cluster.foreign = {
        "web1": Resource("web1", role="Started", active=True, nodes=(NodeName("n2"),)),
        "web2": Resource("web2", role="Started", active=True, nodes=(NodeName("n3"),)),
        "ip": Resource("ip", agent="ocf:heartbeat:IPaddr2", active=True, nodes=(NodeName("n2"),)),
    }
    env.storage_fencing.all_daemons = [MemoryDaemon(1, "n2", "198.51.100.12")]
    return env


def fence(env):
    env.cluster.nodes["n2"] = Node(NodeName("n2"), online=False)
    env.cluster.fencings = [Fencing(NodeName("n2"), succeeded=True, completed="1970-01-12 13:46:40Z")]


FENCING = Event(1_000_000.0, EventKind.FENCED, "n2")


def kinds(events):
    return [event.kind for event in events]


def test_lost_node_names_its_vms(failover):
    seen = Nodes(failover).seen(Event(1.0, EventKind.LOST, "n2"))
    assert seen.vms == ("web1",)


def test_node_that_is_cut_off_does_not_tell_that_the_others_are_lost(failover):
    failover.cluster.quorate = False
    service = Service(lambda: failover)
    service.handle(line_of(LOST))
    recover(service)
    assert not failover.event_log.kept
    assert kinds(failover.journal.written) == [EventKind.LOST]


def test_election_of_a_coordinator_is_waited_for(failover):
    failover.cluster.quorate = False

    def sleep(_seconds):
        failover.clock.now += 1
        failover.cluster.quorate = True

    failover.clock.sleep = sleep
    assert Nodes(failover).seen(Event(1.0, EventKind.LOST, "n2")).vms == ("web1",)


def test_lost_node_is_not_released_but_made_ready_for(failover):
    asked = []
    failover.storage_fencing.on_call = asked.append
    Nodes(failover).act(Event(1.0, EventKind.LOST, "n2"))
    assert asked == ["connect"]
    assert not failover.journal.written


def test_fenced_node_is_released(failover):
    fence(failover)
    Nodes(failover).act(FENCING)
    assert failover.storage_fencing.ended == [1]
    assert kinds(failover.journal.handed) == [EventKind.RELEASED]


def test_failed_fencing_releases_nothing(failover):
    fence(failover)
    Nodes(failover).act(FENCING._replace(kind=EventKind.FENCING_FAILED))
    assert not failover.storage_fencing.ended


def test_word_of_a_fencing_that_the_cluster_does_not_confirm_releases_nothing(failover):
    Nodes(failover).act(FENCING)
    assert not failover.storage_fencing.ended
    assert kinds(failover.journal.handed) == [EventKind.RELEASE_FAILED]


def test_storage_that_does_not_answer_is_asked_again(failover):
    fence(failover)
    tries = []

    def fail(verb):
        tries.append(verb)
        if len(tries) < 4:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "the monitors elect")

    failover.storage_fencing.on_call = fail
    Nodes(failover).act(FENCING)
    assert failover.storage_fencing.ended == [1]
    assert kinds(failover.journal.handed) == [EventKind.RELEASED]


def test_storage_that_never_answers_is_given_up(failover):
    fence(failover)

    def fail(_verb):
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "the monitors elect")

    failover.storage_fencing.on_call = fail
    Nodes(failover).act(FENCING)
    assert RELEASE_S <= failover.clock.now - 1_000_000 < RELEASE_S + 5
    (event,) = failover.journal.handed
    assert (event.kind, event.detail) == (EventKind.RELEASE_FAILED, "the monitors elect")


def test_where_no_storage_needs_it_nothing_is_said(failover):
    class WithoutCeph(MemoryEnv):
        @property
        def storage_fencing(self):
            raise VmMgrError(Kind.NOT_SUPPORTED, "no storage")

        @storage_fencing.setter
        def storage_fencing(self, _):
            pass

    env = WithoutCeph(DomainXml())
    Nodes(env).act(FENCING)
    assert not env.journal.written


def test_events_are_kept_with_the_name_of_the_node(env):
    keeper = Keeper(env)
    keeper.keep(Event(1.0, EventKind.STARTING, "web1"))
    keeper.keep(Event(2.0, EventKind.RUNNING, "web1", "n3"))
    assert keeper.flush()
    assert [event.node for event in env.event_log.kept] == ["n1", "n3"]
    assert not keeper.waiting


def test_hanging_storage_gets_the_events_later(env):
    keeper = Keeper(env)
    env.event_log.hanging = True
    keeper.keep(FENCING)
    assert not keeper.flush()
    keeper.keep(Event(2.0, EventKind.STARTING, "web1"))
    env.event_log.hanging = False
    assert keeper.flush()
    assert kinds(env.event_log.kept) == [EventKind.FENCED, EventKind.STARTING]


def test_storage_that_hangs_for_long_gets_only_what_comes_later(env, capsys):
    keeper = Keeper(env)
    env.event_log.hanging = True
    keeper.keep(FENCING)
    began = env.clock.now
    while not keeper.flush():
        pass
    assert KEEP_S <= env.clock.now - began < KEEP_S + 5
    assert "journal only" in capsys.readouterr().err
    env.event_log.hanging = False
    assert keeper.flush()
    assert not env.event_log.kept


def test_vm_that_our_agent_has_told_of_is_not_looked_up(failover, monkeypatch):
    service = Service(lambda: failover)
    service.handle(write_event(Event(1.0, EventKind.STARTING, "web2", "n1")))
    service.handle(write_event(Event(1.0, EventKind.RELEASED, "n2", "n1")))
    assert service.keeper.vms == {"web2"}
    keeper = Keeper(failover)
    keeper.vms = service.keeper.vms
    monkeypatch.setattr(failover.cluster, "state", None)
    keeper.keep_of_resource(Event(1.0, EventKind.STOPPED, "web2", "n1"))
    assert [event.subject for event in failover.journal.written] == ["web2"]


def test_resources_that_are_no_vms_are_not_kept(failover):
    keeper = Keeper(failover)
    for name in ("ip", "web2", "gone"):
        keeper.keep_of_resource(Event(1.0, EventKind.STOPPED, name, "n1"))
    keeper.flush()
    assert [event.subject for event in failover.event_log.kept] == ["web2", "gone"]
    assert [event.subject for event in failover.journal.written] == ["web2", "gone"]


OFF = "agent||1000012|5|off||web1||||its guest has shut down"
GONE = {**MONITOR, "CRM_alert_rc": "7", "CRM_alert_desc": "not running"}


def test_guest_that_has_shut_down_is_no_failure_once_it_runs_again(failover):
    """Only the monitor's failure here is cleared, and not before the cluster has acted on it."""
    ours = Failure("monitor on n1: gone", "2", "monitor", "n1", 10_000)
    others = [
        Failure("monitor on n1: check qmp", "1", "monitor", "n1", 60_000),
        Failure("monitor on n3: gone", "3", "monitor", "n3", 10_000),
        Failure("migrate_to on n1: late", "4", "migrate_to", "n1"),
    ]
    cluster = failover.cluster
    cluster.places["web1"] = NodeName("n1")
    state, looks = cluster.state, []

    def state_later():
        looks.append(None)
        seen = state()
        web1 = seen.resources["web1"]
        steps = [
            web1,  # the monitor has not ended yet
            web1._replace(failed=True, failures=(*others, ours)),
            web1._replace(active=False, nodes=(), pending="Starting", failures=(*others, ours)),
            web1._replace(failures=(*others, ours)),
        ]
        return seen._replace(resources={**seen.resources, "web1": steps[min(len(looks), 4) - 1]})

    cluster.state = state_later
    cluster.failures["web1"] = [*others, ours]
    Failures(failover).forget("web1")
    assert len(looks) == 4
    assert cluster.failures["web1"] == others


@pytest.mark.parametrize("change", [{"target_role": "Stopped", "active": False, "nodes": ()}, None])
def test_guest_that_nobody_wants_to_run_any_more_is_left_alone(failover, change):
    cluster = failover.cluster
    cluster.cleanup_failed = None
    state = cluster.state

    def changed():
        seen = state()
        found = {} if change is None else {"web1": seen.resources["web1"]._replace(**change)}
        return seen._replace(resources=found)

    cluster.state = changed
    began = failover.clock.now
    Failures(failover).forget("web1")
    assert failover.clock.now - began < 5


def test_pacemakers_word_for_a_guest_that_has_shut_down_is_kept_as_ours(failover):
    """A failure of another VM, of another task, or the next one is one."""
    keeper = Keeper(failover)
    for line in (OFF, line_of(GONE), line_of({**GONE, "CRM_alert_task": "stop"})):
        keeper.keep_of_resource(read_line(line))
    keeper.keep_of_resource(read_line(line_of({**GONE, "CRM_alert_rsc": "web2"})))
    keeper.keep_of_resource(read_line(line_of(GONE)))
    keeper.keep_of_resource(read_line(OFF))
    failover.clock.sleep(60)
    keeper.keep_of_resource(read_line(line_of(GONE)))
    assert [(one.kind.value, one.subject, one.detail.partition(":")[0]) for one in keeper.waiting] == [
        ("powered-off", "web1", "its guest has shut down"),
        ("failed", "web1", "stop"),
        ("failed", "web2", "monitor"),
        ("failed", "web1", "monitor"),
        ("powered-off", "web1", "its guest has shut down"),
        ("failed", "web1", "monitor"),
    ]


def device(name, *, works, task="monitor", node="n1"):
    found = {**MONITOR, "CRM_alert_rsc": name, "CRM_alert_task": task, "CRM_alert_node": node}
    return read_line(line_of({**found, "CRM_alert_rc": "0" if works else "1"}))


@pytest.mark.parametrize("name", ["vm-mgr-fence-n1", "fence-n1"])
def test_fence_device_is_told_of_where_it_fails_or_works_again(failover, name):
    """Not for each try: another node tries it too, and each has the log that all have."""
    for works, task, node in (
        (True, "start", "n2"),
        (False, "monitor", "n2"),
        (True, "stop", "n2"),
        (False, "start", "n2"),
        (False, "start", "n3"),
        (True, "start", "n3"),
        (True, "start", "n2"),
        (False, "monitor", "n2"),
    ):
        keeper = Keeper(failover)
        keeper.keep_of_resource(device(name, works=works, task=task, node=node))
        assert keeper.flush()
    told = [(one.kind.value, one.node, one.detail.partition(":")[0]) for one in failover.event_log.kept]
    assert told == [
        ("fence-device-failed", "n2", "monitor"),
        ("fence-device-works", "n3", ""),
        ("fence-device-failed", "n2", "monitor"),
    ]
    assert {one.subject for one in failover.journal.written} == {name}


def test_failure_of_a_fence_device_is_kept_where_the_log_can_not_be_read(failover):
    failover.event_log.read = refuse
    keeper = Keeper(failover)
    keeper.keep_of_resource(device("vm-mgr-fence-n1", works=False))
    keeper.keep_of_resource(device("vm-mgr-fence-n1", works=False, task="start"))
    keeper.keep_of_resource(device("vm-mgr-fence-n1", works=True, task="start"))
    assert [one.kind.value for one in keeper.waiting] == ["fence-device-failed", "fence-device-works"]


def refuse(*_given):
    raise VmMgrError(Kind.EXTERNAL_FAILURE, "Ceph does not answer")


def test_service_has_the_failure_forgotten(failover, monkeypatch):
    asked = []
    monkeypatch.setattr(Failures, "forget", lambda _self, name: asked.append(name))
    service = Service(lambda: failover)
    service.handle(OFF)
    recover(service)
    assert asked == ["web1"]


def test_guest_is_alive_when_its_agent_answers(env):
    env.hypervisor.running = {"web1": 7, "web2": 8}
    guests = Guests(env)
    guests.expect("web1")
    guests.expect("web2")
    asleep = env.clock.sleep

    def sleep(seconds):
        asleep(seconds)
        if env.clock.now >= 1_000_005:
            env.hypervisor.with_agent.add("web1")
        if env.clock.now >= 1_000_008:
            env.hypervisor.running.pop("web2", None)

    env.clock.sleep = sleep
    guests.ask()
    (event,) = env.journal.handed
    assert (event.kind, event.subject, event.waited) == (EventKind.ALIVE, "web1", {"guest agent": 5000})
    assert env.clock.now < 1_000_010  # the other one has ended


def test_silent_guest_is_not_asked_for_ever(env):
    env.hypervisor.running = {"web1": 7}
    guests = Guests(env)
    guests.expect("web1")
    guests.ask()
    assert not env.journal.handed
    assert GUEST_S <= env.clock.now - 1_000_000 < GUEST_S + 5


def recover(service):
    wait_until(lambda: not service.busy, what="the workers", timeout_s=10, interval_s=0.01)


def line_of(alert):
    fields = ("kind", "node", "timestamp_epoch", "timestamp_usec", "task", "rc", "rsc", "target_rc", "status")
    values = {**ALWAYS, **alert}
    return "|".join(values.get(f"CRM_alert_{name}", "") for name in (*fields, "exec_time", "desc"))


def test_service_does_it_all(failover):
    service = Service(lambda: failover)
    service.handle(line_of(LOST))
    recover(service)
    fence(failover)
    service.handle(line_of(FENCED))
    recover(service)
    for event in failover.journal.handed:
        service.handle(write_event(event))
    service.handle(write_event(Event(1_000_020.0, EventKind.RUNNING, "web1", expects_agent=True)))
    recover(service)
    assert kinds(failover.event_log.kept) == [
        EventKind.LOST,
        EventKind.FENCED,
        EventKind.RELEASED,
        EventKind.RUNNING,
    ]
    assert {event.node for event in failover.event_log.kept} == {"n1"}
    assert failover.event_log.kept[0].vms == ("web1",)
    assert failover.storage_fencing.ended == [1]


class Slow:
    busy = False

    def __init__(self):
        self.lines = []

    def handle(self, line):
        self.lines.append(line)


def test_lines_may_come_in_pieces(pipe):
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(pipe, os.O_WRONLY)
    handler = Slow()

    def write():
        for piece in (b"one\ntw", b"o\nthr", b"ee\nrest"):
            os.write(writing, piece)
            time.sleep(0.05)
        os.close(writing)

    thread = threading.Thread(target=write)
    thread.start()
    listen(reading, handler, idle_s=10, poll_s=0.1)
    thread.join()
    os.close(reading)
    assert handler.lines == ["one", "two", "three"]


def test_listening_ends_when_nothing_comes(pipe):
    reading = os.open(pipe, os.O_RDWR)
    began = time.monotonic()
    listen(reading, Slow(), idle_s=0.2, poll_s=0.05)
    os.close(reading)
    assert 0.2 <= time.monotonic() - began < 5


class TestJournal:
    @pytest.fixture
    def heard(self, tmp_path):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind(str(tmp_path / "socket"))
            listening.setblocking(False)
            yield lambda: dict(line.split("=", 1) for line in listening.recv(65536).decode().splitlines())

    EVENT = Event(7.0, EventKind.FENCING_FAILED, "n2", "n1", "no\nanswer", {"guest agent": 12})

    def test_events_are_told_and_handed_over(self, tmp_path, pipe, reading, heard):
        HostJournal(pipe, tmp_path / "socket").record(self.EVENT)
        fields = heard()
        assert fields["MESSAGE"] == "n2: fencing-failed; no answer; waited 12 ms for guest agent"
        assert (fields["MESSAGE_ID"], fields["PRIORITY"]) == (MESSAGE_ID, "4")
        assert (fields["VM_MGR_KIND"], fields["VM_MGR_SUBJECT"]) == ("fencing-failed", "n2")
        assert fields["VM_MGR_WAITED_GUEST_AGENT_MS"] == "12"
        assert [read_event(line) for line in reading()] == [self.EVENT]

    def test_lines_of_the_agent_have_their_own_name(self, tmp_path, heard):
        HostJournal(tmp_path / "none", tmp_path / "socket").say("web1: no\nroute \udcff", warning=True)
        assert heard() == {
            "MESSAGE": "web1: no route ?",
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "vm-mgr-agent",
        }

    def test_line_that_the_journal_does_not_take_fails_nothing(self, tmp_path, heard):
        HostJournal(tmp_path / "none", tmp_path / "nothing").say("web1")
        HostJournal(tmp_path / "none", tmp_path / "socket").say("x" * (8 << 20))
        with pytest.raises(BlockingIOError):
            heard()

    def test_without_journal_and_listener_it_goes_on(self, tmp_path, capsys):
        HostJournal(tmp_path / "none", tmp_path / "nothing").record(self.EVENT)
        assert "n2: fencing-failed" in capsys.readouterr().err

    def test_pipe_that_nobody_reads_is_not_waited_for(self, tmp_path, pipe, heard):
        HostJournal(pipe, tmp_path / "socket").record(self.EVENT)
        assert heard()["VM_MGR_KIND"] == "fencing-failed"

    def test_full_pipe_is_not_waited_for(self, tmp_path, pipe, reading, heard, capsys):
        filling = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(filling, bytes(PIPE_BUF))
        os.close(filling)
        HostJournal(pipe, tmp_path / "socket").record(self.EVENT)
        assert "not kept" in capsys.readouterr().err

    def test_long_event_is_cut_so_that_it_comes_in_one_piece(self, tmp_path, pipe, reading, heard):
        HostJournal(pipe, tmp_path / "socket").record(self.EVENT._replace(detail="x" * 9000))
        (line,) = reading()
        assert len(line) < PIPE_BUF
        assert json.loads(line)["subject"] == "n2"


def test_nodes_that_are_lost_together_do_not_wait_for_each_other(failover):
    """Ceph hangs in the release of the one: that of the other has its own worker, and its own connection."""
    hangs, released, begun = threading.Event(), threading.Event(), threading.Event()
    made = []

    class Env:
        def __init__(self):
            made.append(self)

        def __getattr__(self, name):
            return getattr(failover, name)

    def on_call(verb):
        if verb == "daemons" and threading.current_thread() is first[0]:
            hangs.wait(10)

    first, state = [], failover.cluster.state

    def looked():
        first.append(threading.current_thread())
        begun.set()
        return state()

    failover.cluster.state = looked
    for name in ("n2", "n3"):
        failover.cluster.nodes[name] = Node(NodeName(name), online=False)
    failover.cluster.fencings = [
        Fencing(NodeName(name), succeeded=True, completed="1970-01-12 13:46:40Z") for name in ("n2", "n3")
    ]
    failover.storage_fencing.all_daemons = [MemoryDaemon(2, "n3", "198.51.100.13")]
    failover.storage_fencing.on_call = on_call
    end = failover.storage_fencing.end_daemons
    failover.storage_fencing.end_daemons = lambda numbers, **named: (end(numbers, **named), released.set())
    service = Service(Env)
    service.handle(line_of(FENCED))
    assert begun.wait(10)
    service.handle(line_of({**FENCED, "CRM_alert_node": "n3"}))
    assert released.wait(5), "the second node waits for the first one"
    hangs.set()
    recover(service)
    assert len(made) == 4

"""What Python's side of the agent keeps in /run: a wall clock that is set changes nothing of it."""

import time

import pytest

from vm_mgr.adapters.host.journal import BAD
from vm_mgr.adapters.pacemaker.crm_mon import parse_crm_mon
from vm_mgr.agent import retry_backoff, state_files
from vm_mgr.agent.agent_log import log_throttled
from vm_mgr.alert.message import read_line
from vm_mgr.model.event import EventKind
from vm_mgr.model.vm import VmState
from vm_mgr.ocf import guard
from vm_mgr.operations.support.vm_state import derive_status

STEPS = pytest.mark.parametrize("step", [-3600, -60, 60, 3600])


@pytest.fixture
def node(env, tmp_path, monkeypatch):
    """Give a node whose wall clock a test can set."""
    env.state_dir = tmp_path / "state"
    off = [0.0]
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + off[0])
    monkeypatch.setattr(env.clock, "utc", lambda: env.clock.monotonic() + 1.7e9 + off[0])
    env.set_clock = lambda step: off.__setitem__(0, step)
    return env


@STEPS
def test_failures_of_moves_count_for_an_hour(node, step):
    retry_backoff.add(node, "web1")
    node.set_clock(step)
    node.clock.sleep(3500)
    assert retry_backoff.count(node, "web1") == 1
    assert retry_backoff.add(node, "web1") == 2
    node.clock.sleep(3700)
    assert retry_backoff.count(node, "web1") == 0


@STEPS
@pytest.mark.parametrize(("passed_s", "good"), [(3, True), (60, False)])
def test_incoming_migration_is_announced_for_seconds(node, step, passed_s, good):
    node.node = node
    assert guard.main(node, ["web1", "migrate", "begin"], "<domain/>") == 0
    node.set_clock(step)
    node.clock.sleep(passed_s)
    rival = "<domain><disk><source protocol='rbd' name='rbd/system_web1'/></disk></domain>"
    asked = []
    node.definitions.opened = lambda *_: asked.append(1) or []
    assert guard.main(node, ["web1", "prepare", "begin"], rival) == 0
    assert (not asked) is good


@STEPS
def test_monitor_says_the_same_again_after_ten_minutes(node, step):
    def say():
        log_throttled(node, "web1", 10, "check qmp of web1: miss 1 of 3", failed=False)
        return len(node.journal.lines)

    assert say() == 1
    node.set_clock(step)
    node.clock.sleep(60)
    assert say() == 1
    node.clock.sleep(600)
    assert say() == 2


def test_what_an_older_version_has_left_counts_for_nothing(node):
    node.state_dir.mkdir()
    (node.state_dir / "move-tries..web1").write_text("7\n")  # its own time is that of the wall clock
    assert retry_backoff.count(node, "web1") == 0
    file = state_files.path(node, "said-10", "web1")
    file.write_text("1769900000\ncheck qmp of web: miss  of \n")
    log_throttled(node, "web1", 10, "check qmp of web1: miss 1 of 3", failed=False)
    assert len(node.journal.lines) == 1


class TestFullStorageIsTold:
    @pytest.mark.parametrize(("task", "kind"), [("full", EventKind.FULL), ("room", EventKind.ROOM)])
    def test_as_an_event(self, task, kind):
        event = read_line(f"agent||1000|5|{task}||web1||||its storage is full")
        assert (event.kind, event.subject, event.detail) == (kind, "web1", "its storage is full")
        assert (kind in BAD) is (task == "full")

    @pytest.mark.parametrize(
        ("there", "value", "told"),
        [
            ("n1", "1767225600", "its guest is paused: its storage is full since 2026-01-01 00:00:00 UTC"),
            ("n2", "1767225600", ""),
            ("n1", "soon", ""),
        ],
    )
    def test_where_the_vm_runs_now(self, there, value, told):
        attribute = f'<attribute name="vm-mgr-full-web1" value="{value}"/>'
        state = parse_crm_mon(RUNNING.replace("<!-- -->", f'<node name="{there}">{attribute}</node>'))
        seen = derive_status(state.resources["web1"], state)
        assert (seen.state, seen.detail) == (VmState.STARTED, told)


RUNNING = """<pacemaker-result><summary/>
<nodes><node name="n1" online="true"/><node name="n2" online="true"/></nodes>
<resources>
<resource id="web1" resource_agent="ocf:vm-mgr:VirtualDomain" role="Started" active="true" managed="true">
<node name="n1"/></resource></resources><node_attributes><!-- --></node_attributes></pacemaker-result>"""

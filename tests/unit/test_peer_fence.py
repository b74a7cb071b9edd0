"""DRBD's handlers: when DRBD may go on without its peer, and when the peer may be promoted again."""

import itertools
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from lxml import etree

from vm_mgr.adapters.pacemaker.peer_fence import (
    PacemakerPeers,
    constraint_xml,
    last_fencing,
    parse_view,
    strange_states,
)
from vm_mgr.agent.peer_fence import PROMOTED_S, PROMOTION_S, fence_peer, split_brain, unfence_peer
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.event import EventKind
from vm_mgr.model.peer_fence import SAFE, Data, Local, Peer, Step, Verdict, View, decide
from vm_mgr.ocf.drbd import serve
from vm_mgr.ports.peer_fence import PeerFenceEnv
from vm_mgr.ports.runner import Completed

RECORDINGS = Path(__file__).parents[1] / "recordings"
VERSIONS = ("pacemaker-2.1.5", "pacemaker-3.0.0")
CLONE = """<clone id="vm-mgr-drbd-web1"><primitive id="drbd-web1" class="ocf" provider="linbit" type="drbd">
<instance_attributes id="a"><nvpair id="b" name="drbd_resource" value="web1"/></instance_attributes>
</primitive></clone>"""
CUT = Local(promoted=True, data=Data.UP_TO_DATE, peer_up_to_date=False)
TO_PROMOTE = CUT._replace(promoted=False)
SAME = CUT._replace(peer_up_to_date=True)


def recording(version, name):
    return (RECORDINGS / version / f"{name}.xml").read_text()


def cib(version, name, *, constraint="", status=""):
    """Give a recorded CIB with DRBD in it, which the lab's containers can't have."""
    root = etree.fromstring(recording(version, f"cib--peer-{name}"))
    root.find("configuration/resources").append(etree.fromstring(CLONE))
    if constraint:
        root.find("configuration/constraints").append(etree.fromstring(constraint))
    if status:
        root.find("status/node_state[@uname='n2']/lrm/lrm_resources").append(etree.fromstring(status))
    return etree.tostring(root, encoding="unicode")


@pytest.mark.parametrize("version", VERSIONS)
class TestPeerAsPacemakerTells:
    @pytest.mark.parametrize(
        ("name", "peer"),
        [
            ("online", Peer.ONLINE),
            ("lost", Peer.LOST),
            ("fenced", Peer.FENCED),
            ("fenced-and-booted", Peer.FENCED),
            ("joining", Peer.LOST),
            ("left", Peer.LEFT),
        ],
    )
    def test_state_is_understood(self, version, name, peer):
        raw = cib(version, name)
        assert parse_view(raw, "web1", "n2", "n1") == View("vm-mgr-drbd-web1", quorate=True, peer=peer)
        assert strange_states(raw) == []

    def test_node_that_was_never_seen_is_lost_and_one_of_no_cluster_is_strange(self, version):
        root = etree.fromstring(cib(version, "online"))
        state = root.find("status/node_state[@uname='n2']")
        state.getparent().remove(state)
        assert parse_view(etree.tostring(root), "web1", "n2", "n1").peer is Peer.LOST
        for peer in ("n9", "", "n1"):
            assert parse_view(etree.tostring(root), "web1", peer, "n1").peer is Peer.STRANGE

    @pytest.mark.parametrize(
        ("operation", "rc", "peer"),
        [
            ("stop", "0", Peer.LEFT),
            ("monitor", "7", Peer.LEFT),
            ("promote", "0", Peer.LOST),
            ("stop", "1", Peer.LOST),
        ],
    )
    @pytest.mark.parametrize("instance", ["drbd-web1", "drbd-web1:1"])
    def test_node_that_left_while_drbd_went_on_is_not_down(self, version, operation, rc, peer, instance):
        """In maintenance mode Pacemaker stops, and what it had started stays."""
        status = f"""<lrm_resource id="{instance}">
            <lrm_rsc_op id="x" operation="{operation}" call-id="12" rc-code="{rc}"/>
            <lrm_rsc_op id="y" operation="start" call-id="9" rc-code="0"/></lrm_resource>"""
        assert parse_view(cib(version, "left", status=status), "web1", "n2", "n1").peer is peer

    def test_constraint_is_read_as_it_is_written(self, version):
        text = constraint_xml("web1", "vm-mgr-drbd-web1", "n2", "1a2b")
        view = parse_view(cib(version, "online", constraint=text), "web1", "n2", "n1")
        assert (view.allowed, view.stamp) == ("n2", "1a2b")

    @pytest.mark.parametrize("change", ['operation="eq"', 'attribute="site"'])
    def test_constraint_of_another_form_allows_nobody(self, version, change):
        text = constraint_xml("web1", "vm-mgr-drbd-web1", "n1", "1a2b")
        key = change.partition("=")[0]
        other = etree.fromstring(text)
        other.find("rule/expression").set(key, change.partition('"')[2][:-1])
        view = parse_view(
            cib(version, "online", constraint=etree.tostring(other, encoding="unicode")), "web1", "n2", "n1"
        )
        assert view.allowed not in ("", "n1", "n2")

    def test_success_of_the_last_fencing_counts(self, version):
        history = recording(version, "stonith_admin--history")
        assert last_fencing(history, "n2")
        assert not last_fencing(history, "n3")
        assert not last_fencing(recording(version, "stonith_admin--no-history"), "n2")
        later = (
            '<fence_event action="off" target="n2" status="failed" completed="2099-01-01 00:00:00Z"/></list>'
        )
        assert not last_fencing(history.replace("</list>", later), "n2")
        pending = '<fence_event action="off" target="n2" status="pending"/></list>'
        assert last_fencing(history.replace("</list>", pending), "n2")


def test_state_in_unknown_words_is_lost_and_named():
    raw = cib("pacemaker-3.0.0", "fenced").replace('crmd="0"', 'crmd="never"')
    assert parse_view(raw, "web1", "n2", "n1").peer is Peer.LOST
    assert strange_states(raw) == ["n2"]


ALL = [
    (View(clone, quorate, peer, allowed, "t", known), Local(promoted, data, same), stamp)
    for clone, quorate, peer, allowed, known, promoted, data, same, stamp in itertools.product(
        ("c", ""),
        (True, False),
        Peer,
        ("", "n1", "n2"),
        (True, False),
        (True, False),
        Data,
        (True, False),
        ("t", ""),
    )
]


def test_drbd_goes_on_only_where_all_is_proven():
    """Over every combination of what can be known."""
    seen = set()
    for view, local, stamp in ALL:
        answer, _why = decide(view, local, here="n1", stamp=stamp)
        seen.add(answer)
        if answer in SAFE:
            assert (view.quorate, view.known, view.clone, local.peer_up_to_date) == (True, True, "c", False)
            assert stamp == view.stamp
            assert view.allowed in ("", "n1")
            assert view.peer in (Peer.ONLINE, Peer.FENCED, Peer.LEFT)
            assert local.data is Data.UP_TO_DATE or (answer, local.data) == (
                Verdict.OUTDATED,
                Data.CONSISTENT,
            )
        if answer is Verdict.FENCED:
            assert view.peer is Peer.FENCED
        if answer is Verdict.REFUSED:
            assert (view.allowed, view.peer, local.promoted) == ("n2", Peer.ONLINE, False)
        if view.peer is Peer.LOST or view.allowed == "n2" or local.data is Data.WORSE:
            assert answer not in (*SAFE, Step.PLACE)
    assert seen == {*Verdict, *Step}


class Cluster:
    """A CIB that the tests change while a handler looks at it; others are the nodes that have it, too."""

    def __init__(self):
        self.view = View("c", quorate=True, peer=Peer.ONLINE, known=True)
        self.then = []  # what the next looks find
        self.others_know = True
        self.silent = 0

    def here(self):
        return "n1"

    def look(self, resource, peer, stamp):
        if self.silent:
            self.silent -= 1
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "no answer")
        if self.then:
            self.view = self.view._replace(peer=self.then.pop(0))
        return self.view._replace(known=self.others_know and self.view.stamp == stamp)

    def create(self, resource, clone, stamp):
        if self.view.allowed:
            return False
        self.view = self.view._replace(allowed="n1", stamp=stamp)
        return True

    def renew(self, resource, clone, old, stamp):
        if (self.view.allowed, self.view.stamp) != ("n1", old):
            return False
        self.view = self.view._replace(stamp=stamp)
        return True

    def remove(self, resource, stamp):
        if self.view.stamp == stamp:
            self.view = self.view._replace(allowed="", stamp="")


class Disks:
    def __init__(self, *states):
        self.states = list(states)
        self.asked = []

    def read(self, resource, minors):
        self.asked.append(tuple(minors))
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def minors(self, resource):
        return ("3", "4")


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now

    def utc(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class Journal:
    def __init__(self):
        self.said, self.events = [], []

    def say(self, text, *, warning=False):
        self.said.append(text)

    def record(self, event):
        self.events.append(event)


@pytest.fixture
def env():
    return PeerFenceEnv(Cluster(), Disks(CUT), Clock(), Journal())


def fence(env):
    return fence_peer(env, "web1", "n2", ("0",))


@pytest.mark.parametrize(
    ("peer", "verdict"),
    [(Peer.ONLINE, Verdict.OUTDATED), (Peer.FENCED, Verdict.FENCED), (Peer.LEFT, Verdict.DOWN)],
)
def test_constraint_is_there_before_drbd_goes_on(env, peer, verdict):
    env.constraints.view = env.constraints.view._replace(peer=peer)
    assert fence(env) is verdict
    assert env.constraints.view.allowed == "n1"
    assert env.clock.now == 0


def test_fencing_is_waited_for(env):
    env.constraints.then = [Peer.ONLINE, *[Peer.LOST] * 20, Peer.FENCED]
    assert fence(env) is Verdict.FENCED
    assert 9 < env.clock.now < 11


def test_peer_that_is_online_only_by_a_stale_cib_is_waited_for(env):
    """The link and the node are lost together: for some seconds the CIB has the node online."""
    env.constraints.others_know = False
    env.constraints.then = [Peer.ONLINE] * 8
    with pytest.raises(IndexError):
        fence_until(env, lambda: env.clock.now > 3)
    env.constraints.others_know = True
    assert fence(env) is Verdict.OUTDATED


def fence_until(env, ended):
    """End the handler as a kill would, at some moment."""

    def sleep(seconds):
        env.clock.now += seconds
        if ended():
            raise IndexError

    env.clock.sleep = sleep
    try:
        fence(env)
    finally:
        del env.clock.sleep


@pytest.mark.parametrize(("promoted", "limit_s"), [(True, PROMOTED_S), (False, PROMOTION_S)])
def test_writes_stay_frozen_without_proof(env, promoted, limit_s):
    env.disks.states = [CUT._replace(promoted=promoted)]
    env.constraints.then = [Peer.ONLINE, Peer.LOST]
    assert fence(env) is Verdict.DOUBT
    assert limit_s <= env.clock.now < limit_s + 2
    assert env.constraints.view.allowed == "", "nothing was written in its name"
    assert [one.kind for one in env.journal.events] == ([EventKind.FAILED] if promoted else [])


def test_limits_are_shorter_than_those_of_the_callers():
    assert PROMOTED_S < 600 - 40, "drbdadm: cmd-timeout-long"
    assert PROMOTION_S < 90, "the promotion's, in Pacemaker"


def test_cluster_that_does_not_answer_for_a_while_is_waited_for(env):
    env.constraints.silent = 5
    assert fence(env) is Verdict.OUTDATED
    assert env.clock.now == 2.5


def test_call_that_has_placed_it_without_an_answer_is_no_obstacle(env):
    create = env.constraints.create

    def lost_answer(*words):
        create(*words)
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "cibadmin did not end within 10 s")

    env.constraints.create = lost_answer
    assert fence(env) is Verdict.OUTDATED


def test_only_one_of_two_sides_goes_on(env):
    """Both were promoted for a live migration, and both ask at once."""
    env.constraints.view = env.constraints.view._replace(allowed="n2", stamp="x")
    assert fence(env) is Verdict.DOUBT
    env.disks.states = [TO_PROMOTE]
    assert fence(env) is Verdict.REFUSED
    assert env.constraints.view.stamp == "x"


@pytest.mark.parametrize("peer", [Peer.FENCED, Peer.LEFT])
def test_data_that_may_be_old_is_not_promoted_because_the_peer_is_down(env, peer):
    env.disks.states = [TO_PROMOTE._replace(data=Data.CONSISTENT)]
    env.constraints.view = env.constraints.view._replace(peer=peer)
    assert fence(env) is Verdict.DOUBT
    assert env.constraints.view.allowed == ""


def test_connection_that_comes_back_meanwhile_leaves_no_constraint(env):
    env.disks.states = [CUT, CUT, SAME]
    assert fence(env) is Verdict.DOUBT
    assert env.constraints.view.allowed == ""


def test_constraint_of_an_earlier_time_stays_in_doubt(env):
    env.constraints.view = env.constraints.view._replace(allowed="n1", stamp="x", peer=Peer.LOST)
    assert fence(env) is Verdict.DOUBT
    assert (env.constraints.view.allowed, env.constraints.view.stamp) == ("n1", "x")


def test_minors_are_those_of_the_configuration_where_drbdadm_gives_none(env):
    fence_peer(env, "web1", "n2", ())
    assert set(env.disks.asked) == {("3", "4")}


class TestUnfence:
    @pytest.fixture(autouse=True)
    def fenced(self, env):
        env.constraints.view = env.constraints.view._replace(allowed="n1", stamp="x")
        env.disks.states = [SAME]

    def test_both_sides_up_to_date_remove_it(self, env):
        assert unfence_peer(env, "web1", "n2")
        assert env.constraints.view.allowed == ""
        assert set(env.disks.asked) == {("3", "4")}, "all volumes, not the one that was resynced last"

    @pytest.mark.parametrize("state", [CUT, SAME._replace(data=Data.WORSE)])
    def test_it_stays_while_they_are_not(self, env, state):
        env.disks.states = [state]
        assert not unfence_peer(env, "web1", "n2")
        assert env.constraints.view.stamp == "x"

    def test_it_stays_where_it_names_another_node(self, env):
        """That one may have lost the link and gone on, while this one still takes it for connected."""
        env.constraints.view = env.constraints.view._replace(allowed="n2")
        assert not unfence_peer(env, "web1", "n2")
        assert env.constraints.view.stamp == "x"

    def test_none_is_nothing_to_do(self, env):
        env.constraints.view = env.constraints.view._replace(allowed="", stamp="")
        assert unfence_peer(env, "web1", "n2")

    def test_link_that_breaks_again_keeps_its_constraint(self, env):
        """Between the look at DRBD and the removal the other handler renews it."""
        read = env.disks.read

        def and_break(resource, minors):
            seen = read(resource, minors)
            if env.disks.states == [SAME]:
                env.disks.states = [CUT]
                assert fence(env) is Verdict.OUTDATED
            return seen

        env.disks.read = and_break
        assert not unfence_peer(env, "web1", "n2")
        assert env.constraints.view.allowed == "n1"
        assert env.constraints.view.stamp != "x"

    def test_cluster_that_does_not_answer_is_asked_again(self, env):
        env.constraints.silent = 10
        assert unfence_peer(env, "web1", "n2")


def test_split_brain_is_an_event(env):
    split_brain(env, "web1", "n2")
    (event,) = env.journal.events
    assert (event.kind, event.subject, event.node) == (EventKind.SPLIT_BRAIN, "web1", "n1")


@pytest.mark.parametrize(
    ("name", "words", "status"),
    [
        ("drbd-fence-peer", [], 4),
        ("drbd-unfence-peer", [], 0),
        ("drbd-notify", ["split-brain"], 0),
        ("drbd-notify", ["pri-lost"], 1),
        ("drbd-handler", [], 1),
    ],
)
def test_handlers_are_known_by_their_names(env, name, words, status, capsys):
    environ = {"DRBD_RESOURCE": "web1", "DRBD_PEERS": "n2", "DRBD_MINOR": "0 1"}
    assert serve(env, name, words, environ) == status
    assert serve(env, name, words, {}) == 1
    capsys.readouterr()


class Runner:
    """Pacemaker's tools; answers are (exit status, stdout) by how a command begins."""

    def __init__(self, **answers):
        self.answers = {"crm_node --quorum": (0, "1\n"), **answers}
        self.calls = []

    def run(self, argv, *, timeout_s, stdin=None, on_line=None):
        self.calls.append(" ".join(argv))
        assert timeout_s <= 10
        begins = [one for one in self.answers if self.calls[-1].startswith(one)]
        status, text = self.answers[max(begins, key=len)] if begins else (0, "")
        return Completed(tuple(argv), status, text, "")


@pytest.mark.parametrize("version", VERSIONS)
class TestAskingPacemaker:
    def look(self, version, name, *, stamp="", **answers):
        text = constraint_xml("web1", "vm-mgr-drbd-web1", "n1", "1a") if stamp else ""
        runner = Runner(**{"cibadmin --query": (0, cib(version, name, constraint=text)), **answers})
        return PacemakerPeers(runner, "n1").look("web1", "n2", stamp), runner.calls

    def test_fenced_is_what_the_history_has_as_fenced(self, version):
        for recorded, peer in (("history", Peer.FENCED), ("no-history", Peer.LEFT)):
            answer = (0, recording(version, f"stonith_admin--{recorded}"))
            view, _ = self.look(version, "fenced", stamp="1a", **{"stonith_admin --history=n2": answer})
            assert view.peer is peer

    def test_peer_that_is_online_is_asked_for_its_own_copy(self, version):
        view, calls = self.look(version, "online", stamp="1a")
        assert view.known
        assert [one for one in calls if "--node" in one and "--node n2 " not in one] == []
        view, _ = self.look(version, "online", stamp="1a", **{"cibadmin --query --node n2": (105, "")})
        assert not view.known

    def test_majority_has_it_where_the_peer_is_down(self, version):
        view, calls = self.look(version, "fenced", stamp="1a")
        assert view.known
        assert any("--node n3 " in one for one in calls)
        view, _ = self.look(version, "fenced", stamp="1a", **{"cibadmin --query --node n3": (124, "")})
        assert not view.known

    def test_constraint_of_another_time_is_not_asked_for(self, version):
        view, calls = self.look(version, "fenced", stamp="2b")
        assert not view.known
        assert calls == ["cibadmin --query"], "each program costs time while writes are frozen"

    def test_quorum_is_that_of_this_moment(self, version):
        view, _ = self.look(version, "online", stamp="1a", **{"crm_node --quorum": (0, "0\n")})
        assert not view.quorate


def test_two_nodes_alone_need_nobody_else():
    root = etree.fromstring(cib("pacemaker-3.0.0", "fenced"))
    for one in (
        root.find("configuration/nodes/node[@uname='n3']"),
        root.find("status/node_state[@uname='n3']"),
    ):
        one.getparent().remove(one)
    root.find("configuration/constraints").append(
        etree.fromstring(constraint_xml("web1", "vm-mgr-drbd-web1", "n1", "1a"))
    )
    runner = Runner(**{"cibadmin --query": (0, etree.tostring(root, encoding="unicode"))})
    assert PacemakerPeers(runner, "n1").look("web1", "n2", "1a").known


def test_constraint_is_placed_in_one_step_and_found_by_its_token_only():
    runner = Runner()
    peers = PacemakerPeers(runner, "n1")
    assert peers.create("web1", "c", "1a")
    assert peers.renew("web1", "c", "1a", "2b")
    peers.remove("web1", "2b")
    created, replaced, removed = runner.calls
    assert created.startswith("cibadmin --create --scope constraints --xml-text <rsc_location ")
    assert 'role="Promoted"' in created
    assert "rule/@id='vm-mgr-drbd-fence-web1-1a'" in replaced
    assert "rule/@id='vm-mgr-drbd-fence-web1-2b'" in removed


def test_one_that_is_there_is_no_error_and_older_schemas_have_another_role():
    runner = Runner(**{"cibadmin --create": (108, "")})
    assert not PacemakerPeers(runner, "n1").create("web1", "c", "1a")
    runner = Runner(**{"cibadmin --create": (78, "")})
    with pytest.raises(VmMgrError):
        PacemakerPeers(runner, "n1").create("web1", "c", "1a")
    assert ['role="Master"' in one for one in runner.calls] == [False, True]


def test_name_that_could_mean_something_in_a_path_is_refused():
    with pytest.raises(VmMgrError) as caught:
        PacemakerPeers(Runner(), "n1").remove("web1'] | //*['", "1a")
    assert caught.value.kind is Kind.INVALID


@pytest.fixture
def installed(tmp_path):
    """Install a version as exchange.sh does, with stand-ins for Pacemaker's tools."""
    source = Path(__file__).parents[2]
    version = tmp_path / "versions" / "1"
    for folder in (version, tmp_path / "bin", tmp_path / "proc"):
        folder.mkdir(parents=True)
    (version / "ocf").mkdir()
    shutil.copy(source / "ocf" / "drbd-handler", version / "ocf")
    (version / "vm_mgr").symlink_to(source / "src" / "vm_mgr")
    (tmp_path / "current").symlink_to("versions/1")
    (tmp_path / "proc" / "drbd").write_text(
        "version: 8.4.11\n 0: cs:WFConnection ro:Secondary/Unknown ds:UpToDate/DUnknown C r-----\n"
    )
    constraint = constraint_xml("web1", "vm-mgr-drbd-web1", "n2", "1a")
    known = cib("pacemaker-3.0.0", "online", constraint=constraint)
    (tmp_path / "cib").write_text(known.replace('uname="n1"', f'uname="{os.uname().nodename}"'))
    for name, text in (("cibadmin", f"cat {tmp_path}/cib"), ("crm_node", "echo 1")):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)

    def call(name, *words, **environ):
        link = tmp_path / name
        if not link.is_symlink():
            link.symlink_to(version / "ocf" / "drbd-handler")
        fixed = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "VM_MGR_PROC": str(tmp_path / "proc")}
        fixed |= {"VM_MGR_ALERTS": str(tmp_path / "none"), "VM_MGR_JOURNAL": str(tmp_path / "none")}
        argv = (str(link), *words)
        done = subprocess.run(argv, env=fixed | environ, capture_output=True, check=False, timeout=60)
        return done.returncode

    return call


def test_installed_handler_answers_the_kernel(installed):
    began = time.monotonic()
    assert installed("drbd-fence-peer", DRBD_RESOURCE="web1", DRBD_PEER="n2", DRBD_MINOR="0") == 6
    assert installed("drbd-fence-peer", DRBD_RESOURCE="web1", DRBD_PEER="n2", DRBD_MINOR="7") == 1
    assert installed("drbd-fence-peer", DRBD_RESOURCE="none", DRBD_PEER="n2", DRBD_MINOR="0") == 1
    assert installed("drbd-unfence-peer", DRBD_RESOURCE="web1", DRBD_PEER="n2") == 0
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("name", ["drbd-fence-peer", "drbd-notify", "drbd-else"])
def test_call_without_a_resource_keeps_writes_frozen(installed, name):
    assert installed(name) == 1

"""A date in the CIB is compared with the clock of the cluster's controller, wherever it was written."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lxml import etree

from vm_mgr.adapters.host.remote import SshNodes
from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.adapters.pacemaker import moves
from vm_mgr.adapters.pacemaker.cib_transaction import CibEditor
from vm_mgr.adapters.pacemaker.port import Pacemaker
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import TargetRole
from vm_mgr.ports.cluster import Move
from vm_mgr.ports.runner import Completed

CIB = """<cib admin_epoch="0" epoch="1" num_updates="0" dc-uuid="2" validate-with="pacemaker-3.9">
<configuration><crm_config/><nodes><node id="1" uname="n1"/><node id="2" uname="n2"/></nodes><resources>
<primitive id="web1" class="ocf" provider="vm-mgr" type="VirtualDomain"><operations/></primitive>
<primitive id="web2" class="ocf" provider="vm-mgr" type="VirtualDomain"><operations/></primitive>
</resources><constraints/></configuration><status/></cib>"""
HOUR = 3600.0


class Tools:
    """Pacemaker's tools, as far as an edit needs them."""

    def __init__(self, cib=CIB):
        self.cib = cib
        self.new = ""

    def run(self, argv, *, timeout_s, stdin=None):
        if argv[0] == "crm_diff":
            self.new = Path(argv[argv.index("--new") + 1]).read_text(encoding="utf-8")
            return Completed(argv, 1, "<diff/>", "")
        return Completed(argv, 0, self.cib, "")


def move(clock, utc_at):
    tools = Tools()
    CibEditor(tools, clock, utc_at).begin_move(Move("web1", "n1", "n2", lifetime_s=240))
    end = etree.fromstring(tools.new).find(".//date_expression").get("end")
    return datetime.fromisoformat(end).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize("ahead_s", [-HOUR, 0, HOUR])
def test_move_ends_by_the_clock_of_the_controller(ahead_s):
    clock, asked = VirtualClock(), []

    def utc_at(node):
        asked.append(node)
        return clock.utc() + ahead_s

    assert move(clock, utc_at) == pytest.approx(clock.utc() + ahead_s + 240, abs=2)
    assert asked == ["n2"]


def test_controller_is_asked_once_for_the_look_ahead_and_the_move():
    clock, asked, tools = VirtualClock(), [], Tools()

    def utc_at(node):
        asked.append(node)
        return clock.utc() + HOUR

    cluster = Pacemaker(tools, clock, require=lambda: None, utc_at=utc_at)
    wanted = Move("web1", "n1", "n2", lifetime_s=240)
    with suppress(VmMgrError):  # the tools know no scheduler
        cluster.simulate_move(wanted)
    cluster.begin_move(wanted)
    assert asked == ["n2"]
    clock.sleep(11)
    cluster.begin_move(wanted)
    assert asked == ["n2", "n2"], "a clock may be set at any time"


def test_controller_that_does_not_answer_leaves_the_own_clock():
    def utc_at(node):
        raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{node} is silent")

    clock = VirtualClock()
    assert move(clock, utc_at) == pytest.approx(clock.utc() + 240, abs=2)


def test_recovery_of_a_held_vm_ends_by_the_clock_of_the_controller():
    clock, tools = (
        VirtualClock(),
        Tools(CIB.replace("<operations/>", '<operations><op name="migrate_to"/></operations>')),
    )
    CibEditor(tools, clock, lambda _: clock.utc() + HOUR).recover_blocked("web1", lifetime_s=60)
    ends = {one.get("end") for one in etree.fromstring(tools.new).iter("date_expression")}
    assert len(ends) == 1
    end = datetime.fromisoformat(ends.pop()).replace(tzinfo=UTC).timestamp()
    assert end == pytest.approx(clock.utc() + HOUR + 60, abs=2)


def test_node_whose_clock_is_ahead_takes_no_move_from_another_vm():
    clock = VirtualClock()
    cib = etree.fromstring(CIB)
    moves.add_move(cib, Move("web2", "n1", "n2"), clock.utc() - HOUR)
    tools = Tools(etree.tostring(cib, encoding="unicode"))
    CibEditor(tools, clock).set_target_role("web1", TargetRole.STOPPED)
    assert "vm-mgr-move-web2" in tools.new


class TestAsking:
    """How a node's time is got."""

    def asked(self, stdout, stderr="", words=("clock",)):
        class Ssh:
            def run(self, argv, *, timeout_s):
                call = ("--", "/usr/bin/python3", "-P", "-m", "vm_mgr.ocf.hold", *words)
                assert argv[-len(call) :] == call
                return Completed(argv, 0, stdout, stderr)

        return SshNodes(Ssh(), "-cluster")

    def test_time(self):
        assert self.asked("vm-mgr hold: 1764382000.125\n").utc("n2") == 1764382000.125

    @pytest.mark.parametrize("stdout", ["", "vm-mgr hold: soon\n", "virt-ssh-helper: cannot connect\n"])
    def test_node_that_does_not_tell(self, stdout):
        with pytest.raises(VmMgrError) as caught:
            self.asked(stdout).utc("n2")
        assert caught.value.kind is Kind.EXTERNAL_FAILURE
        assert caught.value.message

    @pytest.mark.parametrize(
        ("stdout", "ended"), [("vm-mgr hold: ended\n", True), ("vm-mgr hold: lives\n", False)]
    )
    def test_other_node_tells_whether_a_process_has_ended(self, stdout, ended):
        assert self.asked(stdout, words=("process", "7", "123")).has_ended("n2", 7, "123") is ended

    @pytest.mark.parametrize("stdout", ["", "vm-mgr hold: perhaps\n"])
    def test_other_answers_prove_no_end(self, stdout):
        with pytest.raises(VmMgrError) as caught:
            self.asked(stdout, words=("process", "7", "123")).has_ended("n2", 7, "123")
        assert caught.value.kind is Kind.EXTERNAL_FAILURE

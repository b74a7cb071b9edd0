"""Deeper checks: how they are asked for, stored, written into the CIB and shown; and what they find."""

import json
import sys
import threading
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from lxml import etree

from vm_mgr.adapters.ceph import layout
from vm_mgr.adapters.host.processes import HostProcesses
from vm_mgr.adapters.libvirt import evidence
from vm_mgr.adapters.libvirt.evidence import LibvirtEvidence
from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.adapters.pacemaker import cib_read, cib_write
from vm_mgr.adapters.shared_dir import record
from vm_mgr.agent.monitor import Finding, monitor
from vm_mgr.agent.parameters import Parameters
from vm_mgr.cli.app import app
from vm_mgr.errors import EXIT_CODES, Kind, VmMgrError
from vm_mgr.model.vm import TargetRole, VmSettings
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.enable import resource_for
from vm_mgr.ports.cluster import VmResource
from vm_mgr.ports.evidence import Control
from vm_mgr.ports.runner import Completed

from .conftest import DOMAIN
from .test_pacemaker import EMPTY

CHECKS = {"qmp": "60", "counters": "60", "guest-agent": "120"}
PID = 1000


@pytest.fixture
def cli(env):
    def run(*words, code=0):
        done = CliRunner(mix_stderr=False).invoke(app, words, obj=env)
        assert done.exit_code == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    return run


@pytest.fixture
def files(tmp_path, image):
    (tmp_path / "web1.xml").write_text(DOMAIN)
    return ("--xml", str(tmp_path / "web1.xml"), "--image", image)


class TestSettings:
    def test_checks_are_turned_on_shown_and_turned_off(self, env, cli, files):
        cli("create", "web1", *files, "--check", "qmp=90", "guest-agent=2m")
        assert env.storage.definitions.settings("web1").checks == {"qmp": "90", "guest-agent": "120"}
        assert env.cluster.resources["web1"].checks == {"qmp": 90, "guest-agent": 120}
        cli("set", "web1", "--check", "qmp=60s", "--check", "counters=1h", "--no-check", "guest-agent")
        assert env.cluster.resources["web1"].checks == {"qmp": 60, "counters": 3600}
        shown = json.loads(cli("show", "web1", "-o", "json"))["placement"]["checks"]
        assert shown == [{"name": "qmp", "interval_s": 60}, {"name": "counters", "interval_s": 3600}]
        assert "qmp every 60 s" in cli("show", "web1")
        cli("set", "web1", "--no-check", "qmp", "--no-check", "counters")
        assert env.storage.definitions.settings("web1").checks == {}

    def test_clone_takes_them_over_but_those_it_is_not_to_have(self, env, cli, files):
        cli("create", "web1", *files, "--check", "qmp=60", "--check", "counters=60")
        cli("clone", "web1", "--dst-name", "web2", "--no-check", "qmp", "--no-check", "guest-agent")
        assert env.storage.definitions.settings("web2").checks == {"counters": "60"}

    def test_dry_run_names_them(self, cli, files):
        cli("create", "web1", *files)
        told = cli("set", "web1", "--check", "qmp=60", "--dry-run")
        assert "check qmp every 60 s" in told

    @pytest.mark.parametrize(
        "given", ["qmp", "qmp=", "qmp=1.5m", "qmp=-1", "qmp=60d", "qmp=5", "all=60", "qmp=48h"]
    )
    def test_nonsense_is_refused(self, env, cli, files, given):
        told = cli("create", "web1", *files, "--check", given, code=EXIT_CODES[Kind.INVALID])
        assert "60s" in told or "KEY=VALUE" in told or "there are" in told
        assert not env.storage.definitions.exists("web1")

    def test_both_storages_keep_them(self):
        settings = VmSettings(checks=CHECKS)
        assert json.loads(layout.write_settings(settings)["_checks"]) == CHECKS
        assert layout.read_settings(layout.write_settings(settings)) == settings
        assert record.parse(record.render(record.Record(settings))).settings == settings
        assert layout.write_settings(VmSettings()) == {}

    def test_what_a_slip_has_left_in_the_storage_does_not_reach_the_cluster(self, env, image):
        create(env, CreateRequest("web1", DOMAIN, (image,)))
        env.storage.definitions.change_settings(
            "web1", VmSettings(checks={"qmp": "soon", "x": "60", "counters": "60"})
        )
        settings = env.storage.definitions.settings("web1")
        assert resource_for(env, "web1", settings, start=True).checks == {"counters": 60}


class TestCib:
    @pytest.fixture
    def cib(self):
        return cib_write.parse_cib(EMPTY)

    def monitors(self, cib):
        return {
            op.get("interval"): [pair.get("value") for pair in op.iter("nvpair")]
            for op in cib.iter("op")
            if op.get("name") == "monitor"
        }

    def test_each_is_a_monitor_of_its_depth_and_no_two_have_one_interval(self, cib):
        vm = VmResource("web1", TargetRole.STARTED, checks={"qmp": 10, "counters": 10, "guest-agent": 120})
        cib_write.add_vm(cib, vm)
        monitors = {"10s": [], "10010ms": ["10"], "10020ms": ["20"], "120030ms": ["30"]}
        assert self.monitors(cib) == monitors
        assert all(op.get("timeout") == "60s" for op in cib.iter("op") if op.get("name") == "monitor")
        assert cib_read.read_configured(cib, "web1").vm.checks == vm.checks
        ids = cib.xpath("//@id")
        assert len(ids) == len(set(ids))

    def test_they_come_and_go_without_a_trace(self, cib):
        plain = VmResource("web1", TargetRole.STARTED)
        cib_write.add_vm(cib, plain)
        before = etree.tostring(cib)
        cib_write.update_vm(cib, plain._replace(checks={"qmp": 60}))
        cib_write.rename_vm(cib, "web1", "web2")
        assert not [ident for ident in cib.xpath("//@id") if "web1" in ident]
        cib_write.rename_vm(cib, "web2", "web1")
        cib_write.update_vm(cib, plain)
        assert etree.tostring(cib) == before


@pytest.fixture
def node(env, tmp_path):
    """Give a node on which web1 runs."""
    env.state_dir = tmp_path / "state"
    env.hypervisor.create(DOMAIN, "web1", timeout_s=1)
    env.hypervisor.vcpu_times_ns[PID] = 1
    env.evidence.agent = True
    return env


def look(env, level, **more):
    return monitor(env, Parameters(name="web1", check_level=level, **more))


def fails(env, level, text, **more):
    """Find that only the third miss in a row is a failure."""
    for number in (1, 2, 3):
        found = look(env, level, **more)
        assert text in found.text
        assert f"miss {number} of 3" in found.text
        assert found.failed == (number == 3)
        env.clock.sleep(60)


class TestMisses:
    def test_only_misses_in_a_row_count(self, node):
        node.evidence.qemu = "internal-error"
        for word in ("internal-error", "internal-error", "running", "internal-error", "internal-error"):
            node.evidence.qemu = word
            assert not look(node, 10).failed
        node.evidence.qemu = "internal-error"
        assert look(node, 10).failed

    def test_what_is_unknown_in_between_neither_counts_nor_clears(self, node):
        node.evidence.qemu = "guest-panicked"
        look(node, 10)
        look(node, 10)
        node.hypervisor.hanging = True
        assert not look(node, 10).failed
        node.hypervisor.hanging = False
        assert look(node, 10).failed

    def test_parameter_says_how_many(self, node):
        node.evidence.qemu = "internal-error"
        assert look(node, 10, check_misses=1).failed

    def test_new_process_begins_anew(self, node):
        node.evidence.qemu = "internal-error"
        look(node, 10)
        look(node, 10)
        node.hypervisor.births[PID] = "2"
        assert "miss 1 of 3" in look(node, 10).text

    def test_depths_do_not_count_for_each_other(self, node):
        node.evidence.qemu = "internal-error"
        node.hypervisor.stopped_by_signal.add(PID)
        for _ in range(2):
            assert not look(node, 10).failed
            assert not look(node, 20).failed

    def test_nonsense_in_the_file_is_a_first_look(self, node):
        node.evidence.qemu = "internal-error"
        look(node, 10)
        (file,) = node.state_dir.glob("check-*")
        for text in ("", "nonsense", "[]", '{"misses": 9}'):
            file.write_text(text)
            assert "miss 1 of 3" in look(node, 10).text

    def test_what_can_not_be_kept_is_unknown(self, node, tmp_path):
        (tmp_path / "file").touch()
        node.state_dir = tmp_path / "file"
        with pytest.raises(VmMgrError) as caught:
            look(node, 10)
        assert caught.value.hint

    @pytest.mark.parametrize("level", [0, 5, 10, 20, 30])
    def test_vm_that_has_just_ended_is_not_judged(self, env, tmp_path, level):
        env.state_dir = tmp_path / "state"
        assert look(env, level) == Finding()

    def test_level_in_between_takes_the_one_below(self, node):
        look(node, 19)
        assert node.evidence.asked == ["control", "qemu_status"]


@pytest.mark.parametrize("level", [10, 20, 30])
class TestNothingIsKnown:
    def test_hanging_libvirt_never_fails_a_vm(self, node, level):
        look(node, level)
        node.hypervisor.hanging = True
        for _ in range(9):
            found = look(node, level)
            assert not found.failed
        if level != 20 or "disks" in found.text:
            assert "nothing is known" in found.text

    @pytest.mark.parametrize(
        "state", ["paused (user)", "paused (migration)", "pmsuspended (unknown)", "shutdown (user)"]
    )
    def test_guest_that_stands_by_somebodys_will_is_left_alone(self, node, level, state):
        node.evidence.agent, node.evidence.qemu = False, "internal-error"
        node.evidence.told = state
        for _ in range(5):
            assert look(node, level) == Finding()
        assert node.evidence.asked == []

    def test_pause_ends_a_row_of_misses(self, node, level):
        node.evidence.qemu = "internal-error"
        look(node, 30)
        node.evidence.agent = False
        node.hypervisor.stopped_by_signal.add(PID)
        assert "miss 2" in (look(node, level), look(node, level))[1].text
        node.evidence.told = "paused (user)"
        look(node, level)
        node.evidence.told = "running (unpaused)"
        assert "miss 1" in look(node, level).text

    def test_state_file_that_says_nothing_is_unknown(self, node, level):
        node.evidence.told = ""
        assert "nothing is known" in look(node, level).text
        assert node.evidence.asked == []


class TestQmp:
    def test_qemu_that_answers_is_alive(self, node):
        assert look(node, 10) == Finding()

    @pytest.mark.parametrize("word", ["internal-error", "guest-panicked"])
    def test_qemu_says_that_the_guest_is_dead(self, node, word):
        node.evidence.qemu = word
        fails(node, 10, word)

    def test_pause_that_libvirt_can_not_explain_is_looked_into(self, node):
        node.evidence.told, node.evidence.qemu = "paused (unknown)", "paused"
        assert look(node, 10) == Finding()
        node.evidence.qemu = "internal-error"
        fails(node, 10, "internal-error")

    def test_lost_connection_is_a_miss(self, node):
        node.evidence.controls = [Control("broken")]
        fails(node, 10, "lost its connection")

    def test_silent_qemu_is_asked_once_and_fails(self, node):
        node.evidence.silent = True
        node.evidence.controls = [
            Control("ok"),
            Control("busy", 4.0),
            Control("busy", 64.0),
            Control("busy", 124.0),
        ]
        fails(node, 10, "has not answered")
        assert node.evidence.asked.count("qemu_status") == 1

    def test_another_command_that_waits_long_is_no_failure(self, node):
        """The deletion of a snapshot in a file keeps QEMU from answering for minutes."""
        for seconds in (30.0, 90.0, 150.0, 210.0):
            node.evidence.controls = [Control("busy", seconds)]
            assert "another command" in look(node, 10).text
            assert not look(node, 10).failed
            node.clock.sleep(60)

    def test_question_behind_another_command_is_no_miss(self, node):
        node.evidence.silent = True
        node.evidence.controls = [Control("ok"), Control("busy", 20.0)]
        assert "nothing is known" in look(node, 10).text

    def test_timeout_of_libvirt_itself_is_no_miss(self, node):
        node.evidence.silent = True
        node.evidence.controls = [Control("ok"), Control("ok")]
        assert "nothing is known" in look(node, 10).text

    @pytest.mark.parametrize("word", ["job", "error: internal (locking) error"])
    def test_migration_and_what_is_libvirts_own_are_no_failure(self, node, word):
        node.evidence.controls = [Control(word, 900.0)]
        for _ in range(5):
            assert not look(node, 10).failed
        assert "qemu_status" not in node.evidence.asked


class TestCounters:
    def test_guest_that_runs_needs_no_libvirt(self, node):
        for number in range(5):
            node.hypervisor.vcpu_times_ns[PID] = number + 7
            assert look(node, 20) == Finding()
        assert node.evidence.asked == []

    def test_guest_that_stands_still_fails(self, node):
        look(node, 20)
        node.clock.sleep(60)
        assert "compared the next time" in look(node, 20).text
        node.clock.sleep(60)
        fails(node, 20, "its disks were not used")

    def test_disks_that_move_are_life(self, node):
        for number in range(7):
            node.evidence.requests = number
            assert not look(node, 20).failed
        assert look(node, 20).text.endswith("(miss 1 of 3)")

    def test_signal_fails_without_libvirt(self, node):
        look(node, 20)
        node.hypervisor.hanging = True
        node.hypervisor.stopped_by_signal.add(PID)
        fails(node, 20, "signal")

    def test_kernel_without_statistics_tells_nothing(self, node):
        node.hypervisor.vcpu_times_ns.clear()
        for _ in range(5):
            assert "nothing is known" in look(node, 20).text


class TestGuestAgent:
    def test_agent_that_falls_silent_fails(self, node):
        look(node, 30)
        node.evidence.agent = False
        fails(node, 30, "guest agent does not answer")

    def test_guest_that_boots_is_waited_for(self, node):
        node.evidence.agent = False
        for _ in range(9):
            assert not look(node, 30).failed

    def test_answer_is_remembered_over_a_pause(self, node):
        look(node, 30)
        node.evidence.told = "paused (user)"
        look(node, 30)
        node.evidence.told, node.evidence.agent = "running (unpaused)", False
        fails(node, 30, "guest agent")

    def test_machine_without_a_channel_is_told_and_never_fails(self, node):
        node.evidence.agent = None
        for _ in range(5):
            assert "no channel" in look(node, 30).text


class LibvirtError(Exception):
    """As the binding's own."""

    def get_error_code(self):
        return self.args[0]


class TestAgentOfTheGuest:
    """What libvirt's API says of it is told apart by the error's code."""

    UNRESPONSIVE, UNSUPPORTED, TIMED_OUT, NO_DOMAIN = 86, 74, 68, 42

    @pytest.fixture
    def asked(self, monkeypatch):
        """Have the binding answer with the codes that a test puts here; None is an answer of the agent."""
        asked = SimpleNamespace(lookup=None, command=None, commands=[], closed=0, hangs=threading.Event())
        asked.hangs.set()

        def fail(code):
            if code is not None:
                raise LibvirtError(code)

        def command(_domain, text, timeout_s, _flags):
            asked.commands.append((json.loads(text), timeout_s))
            asked.hangs.wait(10)
            fail(asked.command)
            return '{"return":{}}'

        def close():
            asked.closed += 1

        connection = SimpleNamespace(
            isAlive=lambda: True, close=close, lookupByName=lambda _: fail(asked.lookup)
        )
        libvirt = SimpleNamespace(
            libvirtError=LibvirtError,
            registerErrorHandler=lambda *_: None,
            open=lambda _uri: connection,
            VIR_ERR_AGENT_UNRESPONSIVE=self.UNRESPONSIVE,
            VIR_ERR_ARGUMENT_UNSUPPORTED=self.UNSUPPORTED,
        )
        monkeypatch.setitem(sys.modules, "libvirt", libvirt)
        monkeypatch.setitem(sys.modules, "libvirt_qemu", SimpleNamespace(qemuAgentCommand=command))
        yield asked
        asked.hangs.set()

    @pytest.mark.parametrize(("code", "answers"), [(None, True), (UNRESPONSIVE, False), (UNSUPPORTED, None)])
    def test_answer_silence_and_no_channel_are_told_apart(self, asked, tmp_path, code, answers):
        asked.command = code
        assert LibvirtEvidence(None, tmp_path).agent_answers("web1") is answers
        assert asked.commands == [({"execute": "guest-ping"}, 5)]
        assert asked.closed == 1

    @pytest.mark.parametrize(
        ("lookup", "command"), [(NO_DOMAIN, None), (None, TIMED_OUT), (UNSUPPORTED, None)]
    )
    def test_any_other_failure_is_unknown(self, asked, tmp_path, lookup, command):
        asked.lookup, asked.command = lookup, command
        with pytest.raises(VmMgrError) as caught:
            LibvirtEvidence(None, tmp_path).agent_answers("web1")
        assert caught.value.kind is Kind.EXTERNAL_FAILURE

    def test_libvirt_that_hangs_is_given_up_in_time(self, asked, tmp_path, monkeypatch):
        monkeypatch.setattr(evidence, "CALL_S", 0.2 - evidence.AGENT_S)
        asked.hangs.clear()
        with pytest.raises(VmMgrError, match="no answer"):
            LibvirtEvidence(None, tmp_path).agent_answers("web1")


class Answers:
    """virsh that gives one answer."""

    def __init__(self, stdout="", stderr="", code=0):
        self.answer = (code, stdout, stderr)
        self.calls = []

    def run(self, argv, **_):
        self.calls.append(argv)
        return Completed(argv, *self.answer)


class TestVirsh:
    def evidence(self, tmp_path, *answer):
        return LibvirtEvidence(Answers(*answer), tmp_path)

    @pytest.mark.parametrize(
        ("said", "control"),
        [
            ("ok\n", Control("ok")),
            ("occupied (65.012s)\n", Control("busy", 65.012)),
            ("background job (3.500s)\n", Control("job", 3.5)),
            ("error: monitor failure\n", Control("broken")),
            ("error: internal (locking) error\n", Control("error: internal (locking) error")),
        ],
    )
    def test_words_of_domcontrol_are_read(self, tmp_path, said, control):
        assert self.evidence(tmp_path, said).control("web1") == control

    def test_qemus_state_is_read(self, tmp_path):
        said = '{"return":{"status":"running","singlestep":false,"running":true},"id":"libvirt-20"}'
        assert self.evidence(tmp_path, said).qemu_status("web1") == "running"
        for nonsense in ("", "[]", '{"error": {}}', '{"return": []}'):
            with pytest.raises(VmMgrError):
                self.evidence(tmp_path, nonsense).qemu_status("web1")

    @pytest.mark.parametrize(
        "stderr",
        [
            "error: Timed out during operation: cannot acquire state change lock",
            "error: failed to connect to the hypervisor",
            "error: failed to get domain 'web1'",
            "error: Requested operation is not valid: domain is not running",
        ],
    )
    def test_any_other_failure_is_unknown(self, tmp_path, stderr):
        with pytest.raises(VmMgrError):
            self.evidence(tmp_path, "", stderr, 1).control("web1")
        with pytest.raises(VmMgrError):
            self.evidence(tmp_path, "", stderr, 1).disk_requests("web1")

    def test_disks_are_added_up(self, tmp_path):
        said = """Domain: 'web1'
  block.count=2
  block.0.name=vda
  block.0.rd.reqs=10
  block.0.rd.bytes=99999
  block.0.wr.reqs=200
  block.0.fl.reqs=3000
  block.1.rd.reqs=40000
"""
        assert self.evidence(tmp_path, said).disk_requests("web1") == 43210
        assert self.evidence(tmp_path, "Domain: 'web1'\n  block.count=0\n").disk_requests("web1") == 0
        with pytest.raises(VmMgrError):
            self.evidence(tmp_path, "Domain: 'web1'\n").disk_requests("web1")

    @pytest.mark.parametrize(
        ("registers", "button", "deaf"),
        [
            (
                "EAX=1\nCR0=00000010 CR2=0",
                "portw[0x0602] = 0x0000",
                True,
            ),  # SeaBIOS found nothing to boot
            ("CR0=80050033 CR2=00007ffea387fc40", "portw[0x0602] = 0x0120", False),  # Linux
            ("CR0=80050033 CR2=0", "portw[0x0602] = 0x0000", False),  # one that is booting, or OVMF
            ("CR0=00000011 CR2=0", "portw[0x0602] = 0x0100", False),
            ("CR0=00000010 CR2=0", "portw[0x0602] = 0xffff", True),  # a machine without ACPI
            ("CR0=80050033 CR2=0", "portw[0x0602] = 0xffff", False),
            ("CR0=00000010 CR2=0", "", False),
            ("PSTATE=600003c5 -ZC- EL1h", "portw[0x0602] = 0x0000", False),  # another kind of processor
        ],
    )
    def test_machine_is_deaf_only_where_that_is_certain(self, tmp_path, registers, button, deaf):
        told = {"info registers": registers, "i /xh 0x602": button, "web1": "running (booted)\n\n"}
        evidence = self.evidence(tmp_path, "")
        evidence.runner.run = lambda argv, **_: Completed(tuple(argv), 0, told[argv[-1]], "")
        assert evidence.is_deaf("web1") is deaf
        told["web1"] = "running (event wakeup)\n\n"  # its firmware is about to go on with the system
        assert evidence.is_deaf("web1") is False

    def test_state_file_counts_for_its_process_only(self, tmp_path):
        evidence = self.evidence(tmp_path)
        assert evidence.state("web1", 42) == ""
        line = "<domstatus state='paused' reason='api error' pid='42'>"
        (tmp_path / "web1.xml").write_text(f"<!--\nWARNING: this is\n-->\n\n{line}\n  <taint flag='x'/>\n")
        assert evidence.state("web1", 42) == "paused (api error)"
        assert evidence.state("web1", 4) == ""


class TestProcesses:
    """What the kernel tells of a process, without any daemon."""

    @pytest.fixture
    def proc(self, tmp_path):
        threads = {42: "qemu-system-x86", 43: "CPU 0/KVM", 44: "CPU 1/KVM", 45: "IO iothread1"}
        for number, comm in threads.items():
            schedstat = {43: "500 7 1", 44: "30 7 1"}.get(number, "9 9 9")
            thread = tmp_path / "42" / "task" / str(number)
            thread.mkdir(parents=True)
            (thread / "comm").write_text(comm + "\n")
            (thread / "schedstat").write_text(schedstat + "\n")
        stat = "42 (qemu-system-x86 (a) b) {} 1 42 42 0 -1 4194304" + " 0" * 10 + " 3 0 123456 99 7\n"
        (tmp_path / "42" / "comm").write_text("qemu-system-x86\n")
        (tmp_path / "42" / "stat").write_text(stat.format("S"))
        words = ("/usr/bin/qemu-system-x86_64", "-name", "guest=web1,debug-threads=on", "-uuid", "AA-1")
        (tmp_path / "42" / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))
        return tmp_path

    @pytest.fixture
    def found(self, proc):
        return HostProcesses(VirtualClock(), proc, proc / "run")

    def test_birth_vcpus_and_uuid_are_read(self, found):
        assert (found.birth(42), found.vcpu_time_ns(42), found.uuid(42)) == ("123456", 530, "aa-1")
        assert (found.birth(4), found.vcpu_time_ns(4), found.uuid(4)) == ("", None, "")

    def test_threads_without_vcpus_tell_nothing(self, found, proc):
        for thread in ("43", "44"):
            (proc / "42" / "task" / thread / "comm").write_text("worker\n")
        assert found.vcpu_time_ns(42) is None

    @pytest.mark.parametrize(
        ("state", "halted"), [("S", False), ("R", False), ("D", False), ("T", True), ("t", True)]
    )
    def test_halt_is_seen(self, found, proc, state, halted):
        text = (proc / "42" / "stat").read_text()
        (proc / "42" / "stat").write_text(text.replace(") S ", f") {state} "))
        assert found.is_halted(42) is halted

    def test_other_uuid_is_another_vm_and_other_programs_are_none(self, found, proc):
        assert found.find_vm("web1", uuid="aa-1") == 42
        assert found.find_vm("web1", uuid="aa-2") is None
        assert found.find_vm("web1") == 42
        (proc / "42" / "comm").write_text("sh\n")
        assert found.find_vm("web1") is None


class TestFullStorage:
    """A guest that waits for room is not dead, and no other node has more of it."""

    @pytest.fixture
    def misses(self, node):
        node.storage.definitions.read = lambda _name: DOMAIN

        def miss():
            seen = [look(node, 20) for _ in range(6)]
            assert [one.failed for one in seen[:2]] == [False, False]
            return seen[2:]

        return miss

    def test_check_that_misses_three_times_does_not_fail_the_vm(self, node, misses):
        node.storage.full_for = "the pool rbd is full"
        found = misses()
        assert not any(one.failed for one in found)
        assert "the pool rbd is full" in found[2].text
        node.storage.full_for = ""
        assert look(node, 20).failed

    def test_storage_that_does_not_tell_is_no_full_one(self, node, misses):
        def silent(_name):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "Ceph does not answer")

        node.storage.disks.full = silent
        assert [one.failed for one in misses()] == [False, False, True, True]

    def test_qemu_that_a_signal_has_stopped_waits_for_nothing(self, node):
        node.storage.full_for = "Ceph is full"
        node.hypervisor.stopped_by_signal = {PID}
        assert [look(node, 20).failed for _ in range(3)] == [False, False, True]

    def test_silent_qemu_waits_for_nothing(self, node):
        node.storage.full_for = "Ceph is full"
        node.evidence.controls = [Control("broken")]
        assert [look(node, 10).failed for _ in range(3)] == [False, False, True]

    def test_guest_that_an_io_error_has_paused_is_left_to_the_monitor(self, node):
        node.hypervisor.stopped_by_signal = {PID}
        node.state_dir.mkdir(exist_ok=True)
        (node.state_dir / "io-error..web1").write_text("5000\n")
        assert [look(node, 20) for _ in range(4)] == [Finding()] * 4

    def test_person_who_asks_counts_no_miss(self, node):
        node.hypervisor.stopped_by_signal = {PID}
        given = Parameters(name="web1", check_level=20)
        assert [monitor(node, given, keep=False).failed for _ in range(4)] == [False] * 4
        assert not list(node.state_dir.glob("*"))

"""A command that a signal ends says what is true, and leaves nothing half done."""

import os
import signal
import subprocess
import sys
from operator import attrgetter

import pytest
from click.testing import CliRunner

from vm_mgr.cli.app import app
from vm_mgr.errors import Kind, SignalError, VmMgrError
from vm_mgr.interruption import current
from vm_mgr.model.claimant import Claimant
from vm_mgr.model.vm import VmName
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.create_snapshot import create_snapshot
from vm_mgr.operations.repair import repair
from vm_mgr.operations.stop import stop

from .conftest import DOMAIN

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def vm(env, image):
    create(env, CreateRequest("web1", DOMAIN, (image, image)))
    return "web1"


@pytest.fixture
def act(env):
    """Run a command that gets a signal right after, or before, a call of a port."""

    def acted(*words, port, verb, number=signal.SIGINT, after=True):
        found = getattr(attrgetter(port)(env), verb)
        done = []

        def struck(*arguments, **named):
            result = found(*arguments, **named) if after else None
            if not done:
                done.append(True)
                os.kill(os.getpid(), number)
            return result if after else found(*arguments, **named)

        setattr(attrgetter(port)(env), verb, struck)
        try:
            return CliRunner(mix_stderr=False).invoke(app, words, obj=env)
        finally:
            setattr(attrgetter(port)(env), verb, found)

    return acted


def said(done, number=signal.SIGINT):
    assert done.exit_code == 128 + number
    assert "undone" not in done.stderr or "has been undone" in done.stderr
    return done.stderr


@pytest.mark.parametrize("number", SIGNALS)
class TestSignal:
    def test_ends_an_import_with_nothing_left(self, env, image, act, tmp_path, number):
        xml = tmp_path / "web.xml"
        xml.write_text(DOMAIN)
        line = ("create", "web2", "--xml", str(xml), "--image", image)
        text = said(act(*line, port="images", verb="inspect", number=number), number)
        assert "there is no VM web2" in text
        assert not env.intent_log.intents()

    def test_lets_a_held_guest_go_on(self, env, vm, act, number):
        env.hypervisor.with_agent.add(vm)
        line = ("create-snapshot", vm, "--snap-name", "one")
        text = said(act(*line, port="storage.snapshots", verb="take", number=number), number)
        assert "snapshot of web1 has been undone" in text
        hypervisor = env.hypervisor
        assert [hypervisor.frozen, hypervisor.halted, env.intent_log.intents(), env.holds.limits] == [
            set(),
            {},
            {},
            {},
        ]

    def test_says_nothing_of_what_only_looks(self, env, act, number):
        text = said(act("list", port="storage.definitions", verb="names", number=number), number)
        assert text.strip() == "vm-mgr: error: interrupted"


def test_hangup_that_is_ignored_stays_so(env, vm, act):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert act("stop", vm, port="cluster", verb="set_target_role", number=signal.SIGHUP).exit_code == 0
    finally:
        signal.signal(signal.SIGHUP, before)


class TestTruth:
    def test_stop_goes_on(self, env, vm, act):
        env.cluster.stuck.add(vm)
        text = said(act("stop", vm, port="cluster", verb="set_target_role"))
        assert "web1 is being stopped, and stays Stopped" in text
        assert "hint: take it back: vm-mgr start web1" in text

    def test_stop_that_was_not_asked_for_yet(self, env, vm, act):
        text = said(act("stop", vm, port="cluster", verb="set_target_role", after=False))
        assert "web1 runs on n1" in text

    def test_start_goes_on(self, env, vm, act):
        stop(env, vm)
        text = said(act("start", vm, port="cluster", verb="set_target_role"))
        assert "web1 is being started" in text or "web1 runs on" in text

    def test_restart_reboots(self, env, vm, act):
        text = said(act("restart", vm, port="cluster", verb="set_target_role"))
        assert "web1 runs on n1" in text
        assert "the guest of web1 was shut down" in text
        assert "boots again" in text

    @pytest.mark.parametrize("verb", ["disable", "remove"])
    def test_halted_vm_runs_again_and_its_reboot_is_told(self, env, vm, act, verb):
        text = said(act(verb, vm, port="cluster", verb="set_target_role"))
        assert f"{verb} of web1 has been undone; web1 runs on n1" in text
        assert "boots again" in text

    def test_create_that_has_committed_goes_on(self, env, image, act, tmp_path):
        xml = tmp_path / "web.xml"
        xml.write_text(DOMAIN)
        line = ("create", "web2", "--xml", str(xml), "--image", image)
        text = said(act(*line, port="cluster", verb="add"))
        assert "create of web2 is done; web2 runs on" in text

    def test_enable(self, env, image, act):
        create(env, CreateRequest("web1", DOMAIN, (image,), enable=False))
        assert "web1 runs on" in said(act("enable", "web1", port="cluster", verb="add"))
        create(env, CreateRequest("web2", DOMAIN, (image,), enable=False))
        assert "web2 is Disabled" in said(act("enable", "web2", port="storage.definitions", verb="settings"))

    def test_set_is_done(self, env, vm, act):
        text = said(act("set", vm, "--priority", "7", port="storage.definitions", verb="change_settings"))
        assert "set of web1 is done" in text
        assert env.storage.definitions.settings(vm).priority == 7

    def test_removal_of_disks_is_left_to_repair(self, env, vm, act):
        text = said(act("remove", vm, port="storage", verb="remove", after=False))
        assert "remove of web1 is unfinished" in text
        assert "hint: finish it: vm-mgr repair" in text
        assert env.intent_log.intents()[vm].verb == "remove"
        repair(env)
        assert not env.intent_log.intents()
        assert not env.storage.definitions.exists(vm)

    def test_removal_of_a_disk_is_left_to_repair(self, env, vm, act):
        text = said(act("remove-disk", vm, "1", "--yes", port="storage.disks", verb="drop", after=False))
        assert "remove-disk of web1 is unfinished" in text
        repair(env)
        assert len(env.storage.disks.of(vm)) == 1

    def test_rollback_of_disks_is_left_to_repair(self, env, vm, act):
        create_snapshot(env, vm, "one")
        line = ("rollback", vm, "--snap-name", "one", "--yes")
        text = said(act(*line, port="storage.snapshots", verb="roll_back", after=False))
        assert "rollback of web1 is unfinished" in text
        repair(env)
        assert env.cluster.resources[vm].target_role.value == "Started"

    def test_cluster_that_does_not_answer(self, env, vm, act):
        def gone():
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "Pacemaker does not answer")

        def role(*arguments):
            env.cluster.state = gone
            return found(*arguments)

        found, env.cluster.set_target_role = env.cluster.set_target_role, role
        text = said(act("stop", vm, port="cluster", verb="set_target_role"))
        assert "what web1 is now is not known: Pacemaker does not answer" in text


def test_undoing_that_can_not_be_done_is_told(env, vm, act):
    def broken(*_):
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "Ceph is gone")

    env.storage.snapshots.drop = broken
    line = ("create-snapshot", vm, "--snap-name", "one")
    text = said(act(*line, port="storage.snapshots", verb="take"))
    assert "snapshot of web1 is unfinished" in text
    assert "has been undone" not in text


def test_call_that_hangs_has_nothing_undone_beside_it(env, vm):
    def hanging(*_):
        error = SignalError(2)
        error.hanging = True
        raise error

    env.storage.snapshots.take = hanging
    with pytest.raises(SignalError):
        create_snapshot(env, vm, "one")
    assert env.intent_log.intents()[vm].verb == "snapshot"
    assert not env.hypervisor.halted


def test_second_signal_is_noted(env, vm, act):
    def twice(*_):
        os.kill(os.getpid(), signal.SIGINT)

    env.storage.snapshots.drop = twice
    act("create-snapshot", vm, "--snap-name", "one", port="storage.snapshots", verb="take")
    assert current.impatient
    current.begin()


# Lists, or shows the state of, a VM of a cluster in memory, without click or with it.
LISTS = """
import sys
import vm_mgr.cli, vm_mgr.wiring
from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.memory.env import MemoryEnv
from vm_mgr.model.cluster import Resource

class Env(MemoryEnv):
    def __init__(self):
        super().__init__(DomainXml())
        agent = "ocf:heartbeat:VirtualDomain"
        self.cluster.foreign["web1"] = Resource("web1", agent, role="Started", active=True, nodes=("n1",))

    def prefetch(self, **_options):
        pass

vm_mgr.wiring.RealEnv = Env
vm_mgr.cli.main()
"""
LOOKS = ("list", "list --wide", "list --output json", "status web1", "status web1 -o yaml")


class TestOutput:
    """What can't be written ends with 1; a reader that has left, without a word."""

    def run(self, tail, *, stdout=subprocess.PIPE):
        line = f"{sys.executable} -m vm_mgr.cli {tail}"
        return subprocess.run(
            ["bash", "-c", line], stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )

    @pytest.mark.parametrize("words", ["--help", "create --help", "--version"])
    def test_full(self, words):
        done = self.run(f"{words} >/dev/full")
        assert (done.returncode, done.stderr.strip()) == (
            1,
            "vm-mgr: error: can't write the output: No space left on device",
        )

    @pytest.mark.parametrize("words", ["--help", "create --help"])
    def test_closed(self, words):
        done = self.run(f"{words} >&-")
        assert (done.returncode, done.stderr.strip()) == (
            1,
            "vm-mgr: error: can't write the output: Bad file descriptor",
        )

    @pytest.mark.parametrize("words", LOOKS)
    @pytest.mark.parametrize(
        ("target", "reason"), [("/dev/full", "No space left on device"), ("&-", "Bad file descriptor")]
    )
    def test_look_that_can_not_be_written(self, tmp_path, words, target, reason):
        done = self.look(tmp_path, f"{words} >{target}")
        expected = (1, f"vm-mgr: error: can't write the output: {reason}")
        assert (done.returncode, done.stderr.strip()) == expected

    @pytest.mark.parametrize("words", LOOKS)
    def test_look_that_can_be_written(self, tmp_path, words):
        done = self.look(tmp_path, words)
        assert (done.returncode, done.stderr) == (0, "")
        assert "Started" in done.stdout

    @pytest.mark.parametrize("words", LOOKS)
    def test_reader_of_a_look_has_left(self, tmp_path, words):
        done = self.look(tmp_path, f"{words} | true; exit ${{PIPESTATUS[0]}}")
        assert (done.returncode in (0, 1), done.stderr) == (True, "")

    def look(self, folder, tail):
        program = folder / "lists.py"
        program.write_text(LISTS)
        line = f"{sys.executable} {program} {tail}"
        return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=60)

    @pytest.mark.parametrize("words", ["--help", "create --help"])
    def test_reader_has_left(self, words):
        done = self.run(f"{words} | true; exit ${{PIPESTATUS[0]}}")
        assert (done.returncode in (0, 1), done.stderr) == (True, "")

    def test_broken_pipe_is_silent(self):
        reading, writing = os.pipe()
        os.close(reading)
        try:
            done = self.run("create --help", stdout=writing)
        finally:
            os.close(writing)
        assert (done.returncode, done.stderr) == (1, "")

    def test_closed_error_output_hinders_nothing(self):
        assert self.run("--help 2>&-").returncode == 0


def test_who_is_at_a_vm_is_told_while_waiting_and_in_the_end(env, vm):
    env.intent_log.who = Claimant("n2", 4711, "create-snapshot", 1_000_000).words(1_000_060)
    with env.intent_log.lock(VmName(vm)):
        done = CliRunner(mix_stderr=False).invoke(app, ["stop", vm], obj=env)
    assert done.exit_code == 7
    assert "another command is at web1 (create-snapshot on n2 since " in done.stderr
    assert "process 4711" in done.stderr

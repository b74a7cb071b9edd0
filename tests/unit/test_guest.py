"""Pause, resume, the console, leftover moves, and the stop by force."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from vm_mgr.adapters.host.runner import HostRunner
from vm_mgr.adapters.libvirt.commands import remote_uri
from vm_mgr.adapters.libvirt.port import LocalLibvirt
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import Consistency
from vm_mgr.model.vm import TargetRole, VmSettings, VmState
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.console import console
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.create_snapshot import create_snapshot
from vm_mgr.operations.disable import disable
from vm_mgr.operations.migrate import migrate
from vm_mgr.operations.pause import pause, resume
from vm_mgr.operations.start import start
from vm_mgr.operations.stop import stop
from vm_mgr.operations.unmigrate import unmigrate
from vm_mgr.ports.cluster import Constraint
from vm_mgr.ports.runner import Completed
from vm_mgr.reports import Note

from .conftest import DOMAIN


@pytest.fixture
def vm(env, image):
    """Give a VM of two disks that runs."""
    create(env, CreateRequest("web1", DOMAIN, (image, image), VmSettings(live_migration=True)))
    return "web1"


def refused(kind, function, *arguments, **named):
    with pytest.raises(VmMgrError) as caught:
        function(*arguments, **named)
    assert caught.value.kind is kind
    assert caught.value.hint


def codes(env):
    return [report.code for report in env.said if isinstance(report, Note)]


@pytest.mark.parametrize("verb", [pause, resume, console, unmigrate])
def test_unknown_vm_is_not_found(env, verb):
    refused(Kind.NOT_FOUND, verb, env, "nobody")


@pytest.mark.parametrize("verb", [pause, resume, console])
def test_vm_that_does_not_run_or_whose_node_is_lost_is_refused(env, vm, verb):
    env.cluster.nodes["n1"] = env.cluster.nodes["n1"]._replace(unclean=True)
    refused(Kind.WRONG_STATE, verb, env, vm)
    env.cluster.nodes["n1"] = env.cluster.nodes["n1"]._replace(unclean=False)
    stop(env, vm)
    refused(Kind.WRONG_STATE, verb, env, vm)
    disable(env, vm)
    refused(Kind.WRONG_STATE, verb, env, vm)


class TestPause:
    def test_guest_stands_and_goes_on(self, env, vm):
        assert pause(env, vm).detail == "paused"
        pause(env, vm)
        assert env.hypervisor.halted == {vm: "user"}
        assert resume(env, vm).state is VmState.STARTED
        resume(env, vm)
        assert not env.hypervisor.halted

    def test_guest_that_an_io_error_paused_goes_on(self, env, vm):
        env.hypervisor.halted[vm] = "I/O error"
        resume(env, vm)
        assert not env.hypervisor.halted

    def test_guest_that_stands_for_an_error_is_not_taken_for_paused(self, env, vm):
        env.hypervisor.halted[vm] = "I/O error"
        refused(Kind.WRONG_STATE, pause, env, vm)

    def test_relapse_is_told(self, env, vm):
        env.hypervisor.halted[vm] = "I/O error"
        env.clock.sleep = lambda _seconds: env.hypervisor.halted.update({vm: "I/O error"})
        refused(Kind.EXTERNAL_FAILURE, resume, env, vm)

    def test_storage_is_not_needed(self, env, vm):
        def unreachable(*_):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "Ceph can't be reached")

        env.intent_log.lock = unreachable
        pause(env, vm)
        resume(env, vm)
        assert codes(env) == ["not-alone", "not-alone"]

    def test_live_migration_keeps_it_and_a_new_start_ends_it(self, env, vm):
        pause(env, vm)
        migrate(env, vm, "n2")
        assert env.hypervisor.halted
        stop(env, vm)
        start(env, vm)
        assert not env.hypervisor.halted

    def test_snapshot_leaves_a_paused_guest_paused(self, env, vm):
        pause(env, vm)
        env.hypervisor.with_agent.add(vm)
        assert create_snapshot(env, vm, "one").consistency is Consistency.CRASH
        clone(env, CloneRequest(vm, "web2", VmSettings()))
        assert env.hypervisor.halted == {vm: "user"}
        resume(env, vm)
        create_snapshot(env, vm, "two")
        assert not env.hypervisor.halted

    def test_failed_snapshot_leaves_a_paused_guest_paused(self, env, vm):
        pause(env, vm)
        env.storage.failing = "snapshots.take"
        with pytest.raises(VmMgrError):
            create_snapshot(env, vm, "one")
        assert env.hypervisor.halted
        assert not env.intent_log.intents()

    def test_guest_that_does_not_thaw_is_told(self, env, vm):
        env.hypervisor.with_agent.add(vm)
        take = env.storage.snapshots.take

        def agent_dies(*arguments):
            take(*arguments)
            env.hypervisor.with_agent.clear()

        env.storage.snapshots.take = agent_dies
        refused(Kind.EXTERNAL_FAILURE, create_snapshot, env, vm, "one")
        assert not env.storage.snapshots.of(vm)

    def test_snapshot_of_a_guest_that_went_on_meanwhile_is_none(self, env, vm):
        take = env.storage.snapshots.take

        def disturbed(*arguments):
            take(*arguments)
            env.hypervisor.halted.clear()

        env.storage.snapshots.take = disturbed
        refused(Kind.WRONG_STATE, create_snapshot, env, vm, "one")
        assert not env.storage.snapshots.of(vm)

    def test_snapshot_of_a_guest_that_stands_for_an_error_is_refused(self, env, vm):
        env.hypervisor.halted[vm] = "I/O error"
        refused(Kind.WRONG_STATE, create_snapshot, env, vm, "one")
        assert env.hypervisor.halted


class TestStopByForce:
    def test_guest_that_ignores_the_power_button_is_unplugged_after_the_cluster_was_told(self, env, vm):
        env.hypervisor.ignores_shutdown = True
        roles = []

        def on_call(verb):
            if verb == "destroy":
                roles.append(env.cluster.resources[vm].target_role)

        env.hypervisor.on_call = on_call
        assert stop(env, vm, force=True).state is VmState.STOPPED
        assert roles == [TargetRole.STOPPED]
        assert not env.cluster.failures

    def test_stopped_vm_stays_stopped(self, env, vm):
        stop(env, vm)
        assert stop(env, vm, force=True).state is VmState.STOPPED
        assert not codes(env)

    def test_vm_that_is_stopping_already_is_unplugged_although_another_command_waits_for_it(self, env, vm):
        env.hypervisor.ignores_shutdown = True
        env.cluster.set_target_role(vm, TargetRole.STOPPED)
        with env.intent_log.lock(vm), pytest.raises(VmMgrError, match="another command"):
            stop(env, vm, force=True)
        assert not env.hypervisor.running
        assert stop(env, vm, force=True).state is VmState.STOPPED

    def test_other_command_that_waited_may_have_disabled_it(self, env, vm):
        env.hypervisor.ignores_shutdown = True
        env.cluster.set_target_role(vm, TargetRole.STOPPED)
        env.hypervisor.on_call = lambda verb: verb == "destroy" and env.cluster.remove(vm)
        assert stop(env, vm, force=True).state is VmState.DISABLED

    def test_running_vm_of_another_command_is_left_alone(self, env, vm):
        with env.intent_log.lock(vm), pytest.raises(VmMgrError, match="another command"):
            stop(env, vm, force=True)
        assert env.hypervisor.running

    def test_hanging_libvirt_is_told_and_left_to_the_agent(self, env, vm):
        env.hypervisor.hanging = True
        assert stop(env, vm, force=True).state is VmState.STOPPED
        env.hypervisor.ignores_shutdown = True
        start(env, vm)
        refused(Kind.TRY_LATER, stop, env, vm, force=True)
        assert "not-unplugged" in codes(env)

    def test_guest_that_ended_by_itself_meanwhile_is_no_failure(self, env, vm):
        env.hypervisor.ignores_shutdown = True
        env.hypervisor.on_call = lambda verb: verb == "destroy" and env.hypervisor.running.clear()
        assert stop(env, vm, force=True).state is VmState.STOPPED
        assert not codes(env)


def test_only_what_moves_left_is_removed(env, vm):
    left = Constraint("cli-ban-web1-on-n2", "location n2 (-INFINITY)", leftover=True)
    kept = Constraint("by-hand", "location n3 (100)")
    env.cluster.leftovers[vm] = [left, kept]
    assert unmigrate(env, vm) == (left,)
    assert unmigrate(env, vm) == ()
    assert env.cluster.configured(vm).others == (kept,)


def test_console_is_attached_where_the_vm_runs(env, vm):
    with pytest.raises(SystemExit):
        console(env, vm, user="admin")
    assert env.hypervisor.consoles == [(vm, "admin")]
    assert codes(env) == ["console"]


def test_program_takes_the_place_of_this_one():
    code = (
        "from vm_mgr.adapters.host.runner import HostRunner as R; print(1); R().become(['printf', '%s', '2'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n2"
    with pytest.raises(VmMgrError):
        HostRunner().become(["no-such-program"])


class Recorder:
    """Answers every virsh with the same text, and remembers the calls."""

    def __init__(self, stdout=""):
        self.stdout = stdout
        self.calls = []

    def run(self, argv, **_):
        self.calls.append(argv)
        return Completed(argv, 0, self.stdout, "")

    def become(self, argv):
        self.calls.append(argv)
        raise SystemExit(0)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("running (booted)\n\n", ""),
        ("paused (user)\n\n", "user"),
        ("paused (I/O error)\n\n", "I/O error"),
        ("paused\n", "unknown"),
    ],
)
def test_reason_of_a_pause_is_read(tmp_path, answer, reason):
    recorder = Recorder(answer)
    assert LocalLibvirt(recorder, tmp_path, uri="qemu+ssh://n2/system").paused("web1", timeout_s=1) == reason
    assert recorder.calls[0][:3] == ("virsh", "--connect", "qemu+ssh://n2/system")


@pytest.mark.parametrize(
    ("uri", "user", "reached"),
    [
        ("qemu:///system", "admin", "qemu:///system"),
        (remote_uri("n2"), "", "qemu+ssh://n2/system?no_tty=1"),
        (remote_uri("n2"), "admin", "qemu+ssh://admin@n2/system"),
    ],
)
def test_console_of_another_node_goes_over_ssh(tmp_path, uri, user, reached):
    recorder = Recorder()
    with pytest.raises(SystemExit):
        LocalLibvirt(recorder, tmp_path, uri=uri).console("web1", user)
    assert recorder.calls == [("virsh", "--connect", reached, "--quiet", "console", "web1")]


HOOK = (
    "Hook script execution failed: internal error: Child process (LC_ALL=C /etc/libvirt/hooks/qemu.d/vm-mgr "
    "web1 prepare begin -) unexpected exit status 1: "
)
INVALID, HOOK_FAILED, INTERNAL = 55, 70, 1


@pytest.mark.parametrize(
    ("said", "code", "kind", "told"),
    [
        (
            f"{HOOK}vm-mgr: refusing to start web1: its disk system_web1 is in use on n1 (x:0/7)\n",
            HOOK_FAILED,
            Kind.WRONG_STATE,
            "refusing to start web1: its disk system_web1 is in use on n1 (x:0/7)",
        ),
        (f"{HOOK}no such file", HOOK_FAILED, Kind.WRONG_STATE, f"{HOOK}no such file"),
        (
            "Requested operation is not valid: domain 'web1' is already active",
            INVALID,
            Kind.TRY_LATER,
            "libvirt: Requested operation is not valid: domain 'web1' is already active",
        ),
        # The words alone are not the state.
        (
            "internal error: qemu-system-x86_64: it is already active: vm-mgr: refusing it",
            INTERNAL,
            Kind.EXTERNAL_FAILURE,
            "libvirt: it is already active: vm-mgr: refusing it",
        ),
    ],
    ids=["our hook", "another hook", "active", "words"],
)
def test_failed_start_is_judged_by_libvirts_number(monkeypatch, tmp_path, said, code, kind, told):
    class Refusal(Exception):  # noqa: N818 - stands for libvirtError
        def get_error_code(self):
            return code

    class Host:
        def createXML(self, xml, flags):  # noqa: N802 - libvirt's name
            assert (xml, flags) == ("<domain/>", 0)
            raise Refusal(said)

    fake = SimpleNamespace(
        libvirtError=Refusal,
        registerErrorHandler=lambda *_: None,
        open=lambda _uri: Host(),
        VIR_ERR_OPERATION_INVALID=INVALID,
        VIR_ERR_HOOK_SCRIPT_FAILED=HOOK_FAILED,
    )
    monkeypatch.setitem(sys.modules, "libvirt", fake)
    with pytest.raises(VmMgrError) as caught:
        LocalLibvirt(None, tmp_path).create("<domain/>", "web1", timeout_s=5)
    assert (caught.value.kind, caught.value.message) == (kind, told)
    assert caught.value.hint
    assert isinstance(caught.value.__cause__, Refusal)

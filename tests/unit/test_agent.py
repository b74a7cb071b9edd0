"""The resource agent: its slow actions in memory, its monitor under the shells of a node."""

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from vm_mgr.adapters.host.processes import HostProcesses
from vm_mgr.adapters.libvirt.port import LocalLibvirt
from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.agent.actions import ACTIONS, failure
from vm_mgr.agent.parameters import Parameters
from vm_mgr.agent.state_files import path
from vm_mgr.alert.message import read_line
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.event import AGENT_EXPECTED, NO_SHUTDOWN, SCRIPTS_FOLLOW, EventKind
from vm_mgr.model.storage import DiskClient
from vm_mgr.model.vm import VmSettings
from vm_mgr.ocf.parameters import read

from .conftest import DOMAIN

AGENT = Path(__file__).parents[2] / "ocf" / "VirtualDomain"
SHELLS = ("dash", "busybox", "bash")
GIVEN = Parameters(name="web1", timeout_s=30)


@pytest.fixture
def node(env, tmp_path):
    env.state_dir = tmp_path / "state"
    with env.storage.stage("web1") as staged:
        staged.add(1 << 20)
        staged.describe(xml=DOMAIN, base_xml=DOMAIN, settings=VmSettings(), notes={})
        staged.commit()
    return env


def act(env, action, **changes):
    ACTIONS[action](env, GIVEN._replace(**changes))


def test_start_and_stop(node):
    act(node, "start")
    act(node, "start")
    assert node.hypervisor.running
    act(node, "stop")
    assert not node.hypervisor.running


AGENT_CHANNEL = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"


@pytest.mark.parametrize(("devices", "expected"), [("", ""), (AGENT_CHANNEL, AGENT_EXPECTED)])
def test_start_tells_its_beginning_and_what_it_waited_for(node, devices, expected):
    node.storage.definitions.describe(
        "web1", {"xml": DOMAIN.replace("<devices/>", f"<devices>{devices}</devices>")}
    )
    node.hypervisor.on_call = lambda verb: node.clock.sleep(2 if verb == "create" else 0)
    act(node, "start")
    starting, running = node.journal.handed
    assert (starting.kind, starting.subject) == (EventKind.STARTING, "web1")
    assert (running.kind, running.detail) == (EventKind.RUNNING, expected)
    assert running.expects_agent is bool(devices)
    assert running.waited == {"cluster": 0, "definition": 0, "disk": 0, "libvirt": 2000}
    assert running.when_utc - starting.when_utc == 2


@pytest.mark.parametrize("devices", ["", AGENT_CHANNEL])
def test_start_tells_that_qemu_runs_but_its_scripts_follow(node, devices):
    node.storage.definitions.describe(
        "web1", {"xml": DOMAIN.replace("<devices/>", f"<devices>{devices}</devices>")}
    )
    act(node, "start", scripts=True)
    detail = node.journal.handed[-1].detail
    assert (detail.startswith(AGENT_EXPECTED), detail.endswith(SCRIPTS_FOLLOW)) == (bool(devices), True)


def test_start_of_what_runs_tells_nothing(node):
    act(node, "start")
    node.journal.handed.clear()
    act(node, "start")
    assert not node.journal.handed


def test_failed_start_does_not_tell_that_the_vm_runs(node):
    node.hypervisor.hanging = True
    with pytest.raises(VmMgrError) as caught:
        act(node, "start")
    assert [event.kind for event in node.journal.handed] == [EventKind.STARTING]
    told = failure(node, "web1", "start", caught.value)
    assert (told.kind, told.detail.partition(":")[0]) == (EventKind.FAILED, "start")


def test_start_is_refused_beside_a_rival_of_the_cluster(node):
    node.hypervisor.alone["web1"] = "libvirt starts web1 by itself"
    with pytest.raises(VmMgrError, match="by itself"):
        act(node, "start")
    assert not node.hypervisor.running


def test_rivals_of_the_cluster_are_found(tmp_path):
    virsh = LocalLibvirt(None, tmp_path, etc=tmp_path)
    assert virsh.acts_alone("web1") == ""
    wants = tmp_path / "systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "libvirt-guests.service").touch()
    assert "mask" in virsh.acts_alone("web1")
    (tmp_path / "systemd/system/libvirt-guests.service").symlink_to("/dev/null")
    assert virsh.acts_alone("web1") == ""
    (tmp_path / "libvirt/qemu/autostart").mkdir(parents=True)
    (tmp_path / "libvirt/qemu/autostart/web1.xml").touch()
    assert "autostart" in virsh.acts_alone("web1")
    assert virsh.acts_alone("web2") == ""


def test_stop_of_what_is_absent_needs_no_libvirt(node):
    node.hypervisor.hanging = True
    act(node, "stop")


def test_stop_kills_by_pid_when_libvirt_hangs(node):
    act(node, "start")
    node.hypervisor.hanging = True
    act(node, "stop")
    assert node.hypervisor.ended == [(1000, False)]


def test_stop_unplugs_a_guest_that_ignores_shutdown_within_the_timeout(node):
    act(node, "start")
    node.hypervisor.ignores_shutdown = True
    began = node.clock.now
    act(node, "stop")
    assert not node.hypervisor.running
    assert node.clock.now - began < 30
    told = node.journal.handed[-1]
    assert (told.kind, told.subject, told.why) == (EventKind.STOPPED, "web1", NO_SHUTDOWN)
    assert "powered off" in told.detail


def test_machine_without_an_operating_system_is_not_waited_for(node):
    act(node, "start")
    node.hypervisor.ignores_shutdown = True
    node.evidence.deaf.add("web1")
    began = node.clock.now
    act(node, "stop")
    assert not node.hypervisor.running
    assert node.clock.now - began < 5
    told = node.journal.handed[-1]
    assert (told.kind, "no operating system" in told.detail) == (EventKind.STOPPED, True)


def test_guest_that_sleeps_is_woken_by_the_next_press(node):
    act(node, "start")
    node.hypervisor.ignores_shutdown = True

    def wake(_):
        node.hypervisor.ignores_shutdown = False

    node.hypervisor.resume = wake
    began = node.clock.now
    act(node, "stop")
    assert node.clock.now - began < 8
    assert "powered off" not in str(node.journal.handed[-1:])


def test_guest_that_shuts_down_is_not_asked_what_it_is(node):
    act(node, "start")
    node.evidence.deaf.add("web1")
    act(node, "stop")
    assert "is_deaf" not in node.evidence.asked


def test_question_that_hangs_takes_no_time_from_powering_off(node):
    def hangs(_):
        node.clock.sleep(4)
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "virsh did not end")

    act(node, "start")
    node.hypervisor.ignores_shutdown = True
    node.evidence.is_deaf = hangs
    began = node.clock.now
    act(node, "stop")
    assert not node.hypervisor.running
    assert node.clock.now - began < 30


def test_stop_waits_for_a_libvirt_that_is_just_started_anew(node):
    act(node, "start")
    began = node.clock.now

    def on_call(verb):
        if verb == "shutdown" and node.clock.now - began < 3:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "connection refused")

    node.hypervisor.on_call = on_call
    act(node, "stop")
    assert not node.hypervisor.running
    assert EventKind.STOPPED not in [event.kind for event in node.journal.handed]


def test_stop_presses_the_power_button_again_for_a_guest_that_boots(node):
    act(node, "start")
    verbs = []

    def on_call(verb):
        verbs.extend([verb] if verb == "shutdown" else [])
        node.hypervisor.ignores_shutdown = len(verbs) < 3

    node.hypervisor.on_call = on_call
    began = node.clock.now
    act(node, "stop")
    assert not node.hypervisor.running
    assert verbs == ["shutdown"] * 3
    assert 6 <= node.clock.now - began < 8


def test_stop_keeps_waiting_when_only_a_later_press_fails(node):
    act(node, "start")
    node.hypervisor.ignores_shutdown = True
    began = node.clock.now

    def on_call(verb):
        node.hypervisor.hanging = node.clock.now > began
        if node.clock.now > began + 5:
            node.hypervisor.running.clear()  # the guest ends by itself

    node.hypervisor.on_call = on_call
    act(node, "stop")
    assert not node.hypervisor.ended


@pytest.mark.parametrize("end", ["killed", "unplugged"])
def test_stop_waits_for_a_process_that_gives_much_memory_back(node, monkeypatch, end):
    act(node, "start")
    look, ended = node.processes.find_vm, []

    def find_vm(name, *, uuid=""):
        if look(name, uuid=uuid) is not None:
            return look(name, uuid=uuid)
        ended.append(node.clock.monotonic())
        if ended[-1] - ended[0] < 20:
            node.clock.sleep(5)  # as HostProcesses waits
            raise VmMgrError(Kind.ENVIRONMENT, "process 1000 shows no command line")
        return None

    monkeypatch.setattr(node.processes, "find_vm", find_vm)
    if end == "killed":
        node.hypervisor.running.clear()
    act(node, "stop", timeout_s=120, force_stop=True)
    assert 20 <= ended[-1] - ended[0] < 30


def test_stop_that_never_learns_whether_the_vm_runs_fails_within_its_time(node, monkeypatch):
    def find_vm(name, *, uuid=""):
        raise VmMgrError(Kind.ENVIRONMENT, f"whether {name} ({uuid}) runs is unknown")

    monkeypatch.setattr(node.processes, "find_vm", find_vm)
    began = node.clock.monotonic()
    with pytest.raises(VmMgrError, match="unknown"):
        act(node, "stop")
    assert node.clock.monotonic() - began < 30


def test_stop_ends_what_libvirt_still_starts_for_a_start_that_was_killed(node):
    verbs = []

    def on_call(verb):
        verbs.append(verb)
        if verb == "create":
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "virsh was killed; libvirt goes on")
        if verb == "destroy":
            node.hypervisor.running["web1"] = 1000  # the start comes to its end before

    node.hypervisor.on_call = on_call
    with pytest.raises(VmMgrError):
        act(node, "start")
    for _ in range(2):
        act(node, "stop")
        assert verbs == ["create", "destroy"]
        assert not node.hypervisor.running


DISK = "<disk type='network' device='disk'><source protocol='rbd' name='rbd/system_web1'/></disk>"
DEAD = DiskClient("system_web1", "198.51.100.11:0/7", "client.1", "auto 1", watch=77)


@pytest.mark.parametrize("emptied", ["", "1000 5 7211d24b-8a6d-4c1b-9953-f2bfac5d3272"])
def test_stop_shuts_out_the_client_of_a_process_that_died(node, emptied):
    node.storage.definitions.describe(
        "web1", {"xml": DOMAIN.replace("<devices/>", f"<devices>{DISK}</devices>")}
    )
    node.storage.held = [DEAD]
    act(node, "stop")  # nothing was known to run here
    assert not node.storage.evicted
    node.storage.held = []
    node.hypervisor.variables[1000] = {77}
    node.hypervisor.on_call = lambda verb: node.storage.held.append(DEAD) if verb == "create" else None
    act(node, "start")
    node.hypervisor.on_call = lambda verb: None
    node.hypervisor.running.clear()
    path(node, "running", "web1").write_text(emptied)  # by the monitor that missed it
    act(node, "stop")
    assert node.storage.evicted == [DEAD]
    act(node, "start")
    act(node, "stop")
    assert node.storage.evicted == [DEAD]


@pytest.mark.parametrize("error", [VmMgrError(Kind.EXTERNAL_FAILURE, "Ceph does not answer"), None])
def test_stop_of_a_dead_vm_succeeds_without_ceph(node, monkeypatch, error):
    monkeypatch.setattr("vm_mgr.agent.actions.SHUT_OUT_S", 0.05)
    act(node, "start")
    node.hypervisor.running.clear()

    def definition(name):
        if error:
            raise error
        threading.Event().wait(0.5)

    node.storage.definitions.read = definition
    act(node, "stop")


@pytest.mark.parametrize(("passes_s", "starts"), [(3, True), (60, False)])
def test_start_waits_until_libvirt_has_seen_the_end_of_the_last_process(node, passes_s, starts):
    def on_call(verb):
        if verb == "create" and node.clock.monotonic() < began + passes_s:
            raise VmMgrError(Kind.TRY_LATER, "domain 'web1' is already active")

    node.hypervisor.on_call = on_call
    began = node.clock.monotonic()
    if starts:
        act(node, "start")
    else:
        with pytest.raises(VmMgrError, match="already active"):
            act(node, "start")
        assert node.clock.monotonic() < began + 15
    assert ("web1" in node.hypervisor.running) is starts


@pytest.mark.parametrize(("passes_s", "starts"), [(12, True), (100, False)])
def test_start_waits_until_a_passing_client_lets_libvirts_hook_agree(node, passes_s, starts):
    def on_call(verb):
        if verb == "create" and node.clock.monotonic() < began + passes_s:
            raise VmMgrError(Kind.WRONG_STATE, "refusing to start web1: its disk is in use on n1")

    node.hypervisor.on_call = on_call
    began = node.clock.monotonic()
    if starts:
        act(node, "start")
    else:
        with pytest.raises(VmMgrError, match="n1"):
            act(node, "start")
        assert node.clock.monotonic() < began + 50
    assert ("web1" in node.hypervisor.running) is starts


def unplugs(node, seconds):
    """Stop a guest that ignores the power button, by a libvirt that takes so long; give the whole time."""
    act(node, "start")
    node.hypervisor.ignores_shutdown = True
    node.hypervisor.on_call = lambda verb: node.clock.sleep(seconds if verb == "destroy" else 0)
    began = node.clock.now
    act(node, "stop", timeout_s=60)
    return node.clock.now - began


def test_unmeasured_node_keeps_10_seconds_for_unplugging(node):
    assert 50 <= unplugs(node, 0) < 51


@pytest.mark.parametrize(("took", "kept"), [(0, 4), (4, 14), (20, 30)])
def test_stop_keeps_time_by_what_unplugging_took_on_this_node(node, took, kept):
    unplugs(node, took)
    assert 60 - kept + took <= unplugs(node, took) < 60 - kept + took + 1


def test_only_the_last_unplugs_count_and_nonsense_does_not(node):
    unplugs(node, 20)
    for _ in range(10):
        unplugs(node, 0)
    assert 56 <= unplugs(node, 0) < 57
    (node.state_dir / "unplug-times").write_text("nonsense")
    assert 50 <= unplugs(node, 0) < 51


def test_stop_lets_a_paused_guest_go_on_so_that_it_can_shut_down(node):
    act(node, "start")
    node.hypervisor.pause("web1")
    began = node.clock.now
    act(node, "stop")
    assert not node.hypervisor.running
    assert node.clock.now - began < 5


def test_paused_guest_arrives_paused_and_any_other_pause_is_none_of_its_user(node):
    act(node, "start")
    node.hypervisor.pause("web1")
    act(node, "migrate_from")
    node.hypervisor.halted["web1"] = "migrating"
    with pytest.raises(VmMgrError):
        act(node, "migrate_from")


def test_start_is_refused_while_another_node_has_the_disk(node):
    xml = DOMAIN.replace(
        "<devices/>", "<devices><disk><source protocol='rbd' name='rbd/system_web1'/></disk></devices>"
    )
    node.storage.definitions.describe("web1", {"xml": xml})
    node.storage.held = [DiskClient("system_web1", "198.51.100.12:0/7")]
    with pytest.raises(VmMgrError):
        act(node, "start")
    assert not node.hypervisor.running


def test_start_without_definition_fails(env):
    with pytest.raises(VmMgrError):
        act(env, "start")


@pytest.mark.parametrize(
    ("target", "host"), [("n2", "n2-cluster"), ("n2.example.com", "n2-cluster.example.com")]
)
def test_migration_goes_over_the_migration_network(node, target, host):
    act(node, "start")
    act(node, "migrate_to", target_node=target, network_suffix="-cluster", user="mover", timeout_s=120)
    migration = node.hypervisor.migrated[0]
    assert migration.destination_uri == f"qemu+ssh://mover@{host}/system?no_tty=1"
    assert migration.migrate_uri == f"tcp://{host}"
    assert migration.timeout_s < 120


def test_arrival_is_confirmed(node):
    act(node, "start")
    act(node, "migrate_from")
    act(node, "stop")
    with pytest.raises(VmMgrError):
        act(node, "migrate_from")


def test_parameters_that_are_no_numbers_are_refused():
    with pytest.raises(VmMgrError):
        read({"OCF_RESOURCE_INSTANCE": "web1", "OCF_RESKEY_migrateport": "ssh"})


@pytest.fixture
def proc(tmp_path):
    root = tmp_path / "proc"

    def add(pid, comm, *argv):
        (root / str(pid)).mkdir(parents=True)
        (root / str(pid) / "comm").write_text(comm + "\n")
        (root / str(pid) / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in argv))

    add(1, "systemd", "/sbin/init")
    add(42, "qemu-system-x86", "/usr/bin/qemu-system-x86_64", "-name", "guest=web1,debug-threads=on", "-S")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "web1.pid").write_text("42")
    return root


def hide(proc, pid, state="S", flags=4194304, comm="qemu-system-x86", threads=1):
    """Take the command line from a process; flags as in proc_pid_stat(5)."""
    directory = proc / str(pid)
    directory.mkdir(exist_ok=True)
    (directory / "comm").write_text(comm + "\n")
    (directory / "cmdline").write_bytes(b"")
    (directory / "stat").write_text(
        f"{pid} ({comm} (x) y) {state} 1 {pid} {pid} 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 {threads} 0\n"
    )


def run_agent(shell, proc, action="monitor", name="web1", looks=1, program="", **more):
    argv = [program or "busybox", "sh"] if shell == "busybox" else [program or shell]
    environment = {
        "PATH": os.environ["PATH"],
        "OCF_RESOURCE_INSTANCE": name,
        "VM_MGR_PROC": str(proc),
        "VM_MGR_LIBVIRT_RUN": str(proc.parent / "run"),
        "VM_MGR_LOOKS": str(looks),
        "VM_MGR_STATE": str(proc.parent / "state"),
        **more,
    }
    return subprocess.run(
        [*argv, str(AGENT), action], env=environment, capture_output=True, text=True, check=False
    )


class TestFindVm:
    """What start and stop go by agrees with the monitor."""

    @pytest.fixture
    def found(self, proc):
        return HostProcesses(VirtualClock(), proc, proc.parent / "run")

    def test_running_vm_is_found_and_another_is_not(self, found):
        assert found.find_vm("web1") == 42
        assert found.find_vm("web") is None

    @pytest.mark.parametrize(("state", "threads"), [("S", 1), ("D", 1), ("Z", 3)])
    def test_qemu_without_a_command_line_is_an_error_and_not_stopped(self, found, proc, state, threads):
        hide(proc, 42, state, threads=threads)
        with pytest.raises(VmMgrError, match="unknown"):
            found.find_vm("web1")

    @pytest.mark.parametrize(("state", "flags"), [("Z", 4194304), ("X", 4194304), ("S", 2129984)])
    def test_zombies_and_kernel_threads_are_no_vm(self, found, proc, state, flags):
        hide(proc, 42, state, flags)
        assert found.find_vm("web1") is None

    def test_hidden_process_of_another_vm_is_not_ours(self, found, proc):
        hide(proc, 42)
        assert found.find_vm("web2") is None

    def test_qemu_that_ends_is_waited_for(self, found, proc):
        hide(proc, 42)
        found.clock.sleep = lambda _seconds: hide(proc, 42, "Z")
        assert found.find_vm("web1") is None

    @pytest.mark.parametrize(("shown", "time"), [("0 0 0", None), ("7 1 2", 7)])
    def test_kernel_that_counts_nothing_does_not_tell(self, found, proc, shown, time):
        (proc / "42/task/43").mkdir(parents=True)
        (proc / "42/task/43/comm").write_text("CPU 0/KVM\n")
        (proc / "42/task/43/schedstat").write_text(f"{shown}\n")
        assert found.vcpu_time_ns(42) == time

    def test_pid_file_that_is_removed_meanwhile_says_nothing(self, found, proc):
        hide(proc, 42)
        (proc.parent / "run" / "web0.pid").symlink_to("nowhere")
        assert found.find_vm("web2") is None

    def test_hidden_process_does_not_hide_a_vm_that_is_seen(self, found, proc):
        hide(proc, 41)
        assert found.find_vm("web1") == 42


@pytest.mark.parametrize("shell", SHELLS)
class TestMonitor:
    def test_running_vm_is_seen(self, shell, proc):
        assert run_agent(shell, proc).returncode == 0

    def test_other_vm_is_not_running(self, shell, proc):
        assert run_agent(shell, proc, name="web").returncode == 7
        assert run_agent(shell, proc, name="web10").returncode == 7

    def test_running_vm_without_pid_file_is_seen(self, shell, proc):
        (proc.parent / "run" / "web1.pid").unlink()
        assert run_agent(shell, proc).returncode == 0

    @pytest.mark.parametrize(
        ("last", "told"),
        [
            ("2026-11-30 05:00:00.1+0000: shutting down, reason=shutdown", True),
            ("2026-11-30 05:00:00.1+0000: shutting down, reason=crashed", False),
            ("2026-11-30 05:00:00.1+0000: shutting down, reason=destroyed", False),
            ("2026-11-30 05:00:00.1+0000: shutting down, reason=shutdown\nchar device redirected", False),
            (None, False),
        ],
    )
    def test_guest_that_has_shut_down_is_told_once(self, shell, proc, last, told):
        logs, pipe = proc.parent / "logs", proc.parent / "pipe"
        logs.mkdir()
        if last is not None:
            (logs / "web1.log").write_text(f"2026-11-30 04:00:00.1+0000: starting up\n{last}\n")
        where = {"VM_MGR_LIBVIRT_LOGS": str(logs), "VM_MGR_ALERTS": str(pipe)}
        recurring = {**where, "OCF_RESKEY_CRM_meta_interval": "10000"}
        stat = "42 (qemu-system-x86) S 1 42 42 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 777 0\n"
        (proc / "42" / "stat").write_text(stat)
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            assert run_agent(shell, proc, **recurring).returncode == 0
            shutil.rmtree(proc / "42")
            assert run_agent(shell, proc, **where, OCF_RESKEY_CRM_meta_interval="0").returncode == 7
            deeper = {**recurring, "OCF_CHECK_LEVEL": "10"}
            assert run_agent(shell, proc, **deeper).returncode == 0, "left to the monitor of depth 0"
            assert [run_agent(shell, proc, **recurring).returncode for _ in range(2)] == [7, 7]
            lines = os.read(reader, 65536).decode().splitlines()
        finally:
            os.close(reader)
        events = [(read_line(one).kind.value, read_line(one).subject) for one in lines]
        assert events == ([("powered-off", "web1")] if told else [])

    def test_reused_pid_is_not_believed(self, shell, proc):
        (proc.parent / "run" / "web2.pid").write_text("1")
        assert run_agent(shell, proc, name="web2").returncode == 7

    def test_unreadable_proc_is_an_error_and_not_stopped(self, shell, proc):
        done = run_agent(shell, proc.parent / "nothing")
        assert done.returncode == 1
        assert "unknown" in done.stderr

    @pytest.mark.parametrize("pid_file", [True, False])
    def test_qemu_without_a_command_line_is_an_error_and_not_stopped(self, shell, proc, pid_file):
        hide(proc, 42)
        if not pid_file:
            (proc.parent / "run" / "web1.pid").unlink()
        done = run_agent(shell, proc)
        assert done.returncode == 1
        assert "unknown" in done.stderr

    def test_unreadable_command_line_is_an_error(self, shell, proc):
        (proc / "42" / "cmdline").unlink()
        (proc / "42" / "cmdline").mkdir()
        assert run_agent(shell, proc).returncode == 1

    @pytest.mark.parametrize(("state", "flags"), [("Z", 4194304), ("X", 4194304), ("S", 2129984)])
    def test_zombies_and_kernel_threads_are_no_vm(self, shell, proc, state, flags):
        hide(proc, 42, state, flags)
        assert run_agent(shell, proc).returncode == 7

    def test_qemu_that_ends_is_waited_for(self, shell, proc):
        hide(proc, 42)
        done = []
        thread = threading.Timer(0.5, lambda: done.append(hide(proc, 42, "Z")))
        thread.start()
        assert run_agent(shell, proc, looks=25).returncode == 7
        assert done

    def test_zombie_with_living_threads_may_be_the_vm(self, shell, proc):
        hide(proc, 42, "Z", threads=3)
        assert run_agent(shell, proc).returncode == 1

    def test_hidden_process_of_another_vm_is_not_ours(self, shell, proc):
        hide(proc, 42)
        assert run_agent(shell, proc, name="web2").returncode == 7

    def test_hidden_process_does_not_hide_a_vm_that_is_seen(self, shell, proc):
        (proc.parent / "run" / "web1.pid").unlink()
        hide(proc, 41)
        assert run_agent(shell, proc).returncode == 0

    def test_vm_stopped_by_an_io_error_fails_after_its_time(self, shell, proc):
        status = proc.parent / "run" / "web1.xml"
        status.write_text("<!--\nhead\n-->\n<domstatus state='paused' reason='ioerror' pid='42'>\n")
        assert run_agent(shell, proc).returncode == 0
        since = proc.parent / "state" / "io-error..web1"
        since.write_text(f"{int(since.read_text()) - 100}\n")
        done = run_agent(shell, proc)
        assert done.returncode == 1
        assert "I/O error" in done.stderr
        status.write_text("<domstatus state='running' reason='unpaused' pid='42'>\n")
        assert run_agent(shell, proc).returncode == 0
        assert not since.exists()

    @pytest.mark.parametrize("state", ["gone", "crashed", "unknown"])
    def test_recurring_deeper_check_leaves_it_to_the_monitor_that_finds_it_too(self, shell, proc, state):
        name = "web2" if state == "gone" else "web1"
        root = proc.parent / "nothing" if state == "unknown" else proc
        if state == "crashed":
            (proc.parent / "run" / "web1.xml").write_text("<domstatus state='crashed' reason='x' pid='42'>\n")
        deep, recurring = {"OCF_CHECK_LEVEL": "10"}, {"OCF_RESKEY_CRM_meta_interval": "60010"}
        done = run_agent(shell, root, name=name, **deep, **recurring)
        assert (done.returncode, done.stderr) == (0, "")
        verdict = 7 if state == "gone" else 1
        assert run_agent(shell, root, name=name, **recurring).returncode == verdict
        assert run_agent(shell, root, name=name, **deep).returncode == verdict

    def test_vm_paused_by_somebody_is_healthy(self, shell, proc):
        (proc.parent / "run" / "web1.xml").write_text("<domstatus state='paused' reason='user' pid='42'>\n")
        assert run_agent(shell, proc).returncode == 0
        assert not (proc.parent / "state").exists()

    def test_validate_and_meta_data(self, shell, proc):
        assert run_agent(shell, proc, "validate-all").returncode == 0
        assert run_agent(shell, proc, "validate-all", name="a b").returncode == 6
        assert run_agent(shell, proc, "meta-data").stdout.startswith("<?xml")
        assert run_agent(shell, proc, "promote").returncode == 3


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("marked_us", "born", "called"),
    [
        ("12340000", "1234", False),
        ("12340000", "1300", False),  # within a second: two clocks of one process
        ("12340000", "9999", True),
        ("12340000", None, True),  # it was killed: the next call starts it
        (None, "9999", False),  # no directory is used here
        ("", "9999", False),
    ],
)
def test_start_has_libvirt_told_of_the_leases_where_their_service_was_started_anew(
    shell, tmp_path, marked_us, born, called
):
    proc, state, agents = tmp_path / "proc", tmp_path / "state", tmp_path / "agents"
    for folder in (proc, state, agents):
        folder.mkdir()
    shutil.copy(AGENT, agents)
    (agents / "DiskLocks").write_text(f'[ "$1" = monitor ] && touch {tmp_path}/called\n')
    (agents / "python3").write_text("#!/bin/sh\nexit 0\n")
    (agents / "python3").chmod(0o755)
    (tmp_path / "virtlockd.pid").write_text("58\n")
    if born is not None:
        (proc / "58").mkdir()
        stat = f"58 (virtlockd) S 1 58 58 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 {born} 0\n"
        (proc / "58" / "stat").write_text(stat)
    if marked_us is not None:
        (state / "disk-locks").write_text(f"{marked_us}\n")
    environment = {
        "PATH": f"{agents}:{os.environ['PATH']}",
        "OCF_RESOURCE_INSTANCE": "web1",
        "VM_MGR_PROC": str(proc),
        "VM_MGR_STATE": str(state),
        "VM_MGR_LOCKD": str(tmp_path / "virtlockd.pid"),
    }
    argv = ["busybox", "sh"] if shell == "busybox" else [shell]
    subprocess.run([*argv, agents / "VirtualDomain", "start"], env=environment, check=True)
    assert (tmp_path / "called").exists() == called

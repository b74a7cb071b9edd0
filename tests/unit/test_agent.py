"""The resource agent: its slow actions in memory, its monitor under the shells of a node."""

import os
import subprocess
import threading
from pathlib import Path

import pytest

from vm_mgr.adapters.host.processes import HostProcesses
from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.errors import VmMgrError
from vm_mgr.model.storage import Holder
from vm_mgr.model.vm import VmSettings
from vm_mgr.ocf.actions import ACTIONS
from vm_mgr.ocf.parameters import Parameters, read

from .conftest import DOMAIN

AGENT = Path(__file__).parents[2] / "ocf" / "VirtualDomain"
SHELLS = ("dash", "busybox", "bash")
GIVEN = Parameters(name="web1", timeout_s=30)


@pytest.fixture
def node(env):
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


def test_stop_presses_the_power_button_again_for_a_guest_that_boots(node):
    act(node, "start")
    verbs = []

    def on_call(verb):
        verbs.append(verb)
        node.hypervisor.ignores_shutdown = verbs.count("shutdown") < 3

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


def test_start_is_refused_while_another_node_has_the_disk(node):
    xml = DOMAIN.replace(
        "<devices/>", "<devices><disk><source protocol='rbd' name='rbd/system_web1'/></disk></devices>"
    )
    node.storage.describe("web1", {"xml": xml})
    node.storage.held = [Holder("system_web1", "198.51.100.12:0/7")]
    with pytest.raises(VmMgrError):
        act(node, "start")
    assert not node.hypervisor.running


def test_start_without_definition_fails(env):
    with pytest.raises(VmMgrError):
        act(env, "start")


def test_migration_goes_over_the_migration_network(node):
    act(node, "start")
    act(node, "migrate_to", target_node="n2", network_suffix="-cluster", user="mover", timeout_s=120)
    migration = node.hypervisor.migrated[0]
    assert migration.destination_uri == "qemu+ssh://mover@n2-cluster/system?no_tty=1"
    assert migration.migrate_uri == "tcp://n2-cluster"
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


def run_agent(shell, proc, action="monitor", name="web1", looks=1):
    argv = ["busybox", "sh"] if shell == "busybox" else [shell]
    environment = {
        "PATH": os.environ["PATH"],
        "OCF_RESOURCE_INSTANCE": name,
        "VM_MGR_PROC": str(proc),
        "VM_MGR_LIBVIRT_RUN": str(proc.parent / "run"),
        "VM_MGR_LOOKS": str(looks),
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

    def test_validate_and_meta_data(self, shell, proc):
        assert run_agent(shell, proc, "validate-all").returncode == 0
        assert run_agent(shell, proc, "validate-all", name="a b").returncode == 6
        assert run_agent(shell, proc, "meta-data").stdout.startswith("<?xml")
        assert run_agent(shell, proc, "promote").returncode == 3

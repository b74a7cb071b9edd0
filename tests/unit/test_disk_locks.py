"""Locks that hold on one node only are found out: by configuration, by the mount, by a try between nodes."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vm_mgr.agent import disk_locks
from vm_mgr.agent.disk_locks import NodePaths, check
from vm_mgr_lab.process import wait_until

REPOSITORY = Path(__file__).parents[2]


class World:
    """A node's libvirt and kernel, as far as they are asked, with a directory that all nodes mount."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shared = folder / "vms"
        self.own = self.shared / ".vm-mgr"
        self.own.mkdir(parents=True)
        self.places = NodePaths(folder / "etc", folder / "proc", folder / "sys", folder / "run", "n1")
        for one in self.places[:4]:
            one.mkdir()
        self.configure("qemu.conf", 'lock_manager = "lockd"\n')
        self.configure("qemu-lockd.conf", f'auto_disk_leases = 1\nfile_lockspace_dir = "{self.own}/leases"\n')
        self.mount("nfs4", "rw,vers=4.2,local_lock=none")

    def configure(self, name: str, text: str) -> None:
        (self.places.etc / name).write_text(text)

    def mount(self, kind: str, options: str, point: str | None = None) -> None:
        lines = ["22 1 0:20 / / rw,relatime - ext4 /dev/sda1 rw"]
        lines += [f"39 22 0:39 / {self.shared} rw,relatime shared:1 - ceph nas:/vms rw"] if point else []
        lines += [f"40 22 0:40 / {point or self.shared} rw,relatime shared:1 - {kind} nas:/vms {options}"]
        (self.places.proc / "self").mkdir(exist_ok=True)
        (self.places.proc / "self/mountinfo").write_text("\n".join(lines) + "\n")

    def daemon(self, name: str, maps: str) -> None:
        (self.places.run / f"{name}.pid").write_text("77\n")
        (self.places.proc / "77").mkdir()
        (self.places.proc / "77/comm").write_text(f"{name}\n")
        (self.places.proc / "77/maps").write_text(maps)

    def environment(self) -> dict[str, str]:
        names = ("VM_MGR_LIBVIRT_ETC", "VM_MGR_PROC", "VM_MGR_SYS", "VM_MGR_RUN")
        given = dict(zip(names, map(str, self.places[:4]), strict=True))
        return {**os.environ, **given, "PYTHONPATH": str(REPOSITORY / "src")}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_the_playbook_configures_is_refused_nowhere(world):
    assert check(world.places) == ("", [])


@pytest.mark.parametrize(
    "text",
    [
        "",
        '# lock_manager = "lockd"\n',
        'lock_manager = "nop"\n',
        'lock_manager = "lockd"\nlock_manager = ""\n',
    ],
)
def test_libvirt_without_lockd_is_refused(world, text):
    world.configure("qemu.conf", text)
    assert "lock_manager" in check(world.places)[0]


@pytest.mark.parametrize(
    "text", ['lock_manager = "lockd"', "lock_manager='lockd' # so", ' lock_manager="lockd"']
)
def test_lockd_is_known_in_each_spelling(world, text):
    world.configure("qemu.conf", text)
    assert check(world.places)[0] == ""


def test_leases_that_are_switched_off_are_refused(world):
    world.configure("qemu-lockd.conf", "auto_disk_leases = 0\n")
    assert "auto_disk_leases" in check(world.places)[0]


@pytest.mark.parametrize("name", ["virtqemud", "libvirtd"])
def test_daemon_that_runs_without_its_new_configuration_is_refused(world, name):
    world.daemon(name, "7f /usr/lib/libvirt/connection-driver/libvirt_driver_qemu.so\n")
    assert "restarted" in check(world.places)[0]
    (world.places.proc / "77/maps").write_text("7f /usr/lib/libvirt/lock-driver/lockd.so\n")
    assert check(world.places)[0] == ""


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("nfs", "rw,vers=3,nolock,local_lock=all"),
        ("nfs", "rw,vers=3,nolock"),
        ("nfs", "rw,vers=3,local_lock=posix"),
        ("nfs", "rw,vers=3,local_lock=flock"),
        ("nfs4", "rw,vers=4.2,local_lock=all"),
        ("ocfs2", "rw,localflocks,cluster_stack=pcmk"),
        ("ocfs2", "rw,heartbeat=local,cluster_stack=o2cb"),
        ("gfs2", "rw,localflocks"),
        ("gfs2", "rw,lockproto=lock_nolock"),
        ("cifs", "rw,nobrl"),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_mount_whose_locks_are_local_is_refused(world, kind, options, named):
    """Also a directory that has no leases: commands claim a VM by a lock in it."""
    point = str(world.folder / "other") if named else None
    world.mount(kind, options, point)
    reason, _ = check(world.places, (point,) if point else ())
    assert "locks in it hold on one node only" in reason
    assert (point or str(world.shared)) in reason


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("nfs", "rw,vers=3,local_lock=none"),
        ("nfs4", "rw,vers=4.1,nolock,local_lock=none"),
        ("ocfs2", "rw,heartbeat=none,cluster_stack=pcmk"),
        ("gfs2", "rw"),
        ("ceph", "rw,name=admin"),
        ("ext4", "rw"),
        ("fuse.glusterfs", "rw"),
    ],
)
def test_mount_that_may_lock_is_left_to_the_try(world, kind, options):
    world.mount(kind, options)
    assert check(world.places)[0] == ""


@pytest.mark.parametrize(("stack", "refused"), [("o2cb", True), ("pcmk", False), (None, False)])
def test_own_stack_of_ocfs2_is_refused_also_where_the_mount_does_not_name_it(world, stack, refused):
    world.mount("ocfs2", "rw,_netdev,heartbeat=local")
    if stack:
        (world.places.sys / "fs/ocfs2").mkdir(parents=True)
        (world.places.sys / "fs/ocfs2/cluster_stack").write_text(f"{stack}\n")
    assert ("o2cb" in check(world.places)[0]) is refused


def test_directory_on_the_nodes_own_disk_is_refused(world):
    assert "/elsewhere is not mounted" in check(world.places, ("/elsewhere",))[0]


HOLDER = """
import sys
from pathlib import Path
from vm_mgr.agent import disk_locks
disk_locks.BEAT_S = 0.2
places = disk_locks.NodePaths.from_environment()._replace(node=sys.argv[1])
{cut}
disk_locks.hold(places)
"""


def holder(world, node, cut=""):
    argv = [sys.executable, "-c", HOLDER.format(cut=cut), node]
    process = subprocess.Popen(argv, env=world.environment())
    file = world.own / "nodes" / node
    wait_until(
        lambda: file.exists() and file.stat().st_mtime >= time.time() - 1,
        what="the lock file",
        timeout_s=20,
        interval_s=0.02,
    )
    return process


@pytest.fixture
def other(world):
    process = holder(world, "n2")
    yield process
    process.kill()
    process.wait()


@pytest.mark.usefixtures("other")
def test_lock_of_another_node_is_proof_that_they_lock(world, monkeypatch):
    monkeypatch.setattr(disk_locks, "BEAT_S", 0.2)
    assert check(world.places) == ("", ["n2"])


def test_lock_that_could_be_taken_while_another_node_holds_it_is_refused(world, monkeypatch):
    """As on a mount with nolock: the other node's lock is one in its own kernel only."""
    monkeypatch.setattr(disk_locks, "BEAT_S", 0.2)
    process = holder(world, "n2", "disk_locks.fcntl = type('Local', (), {'LOCK_EX': 2, 'lockf': print})")
    try:
        reason, proved = check(world.places)
    finally:
        process.kill()
        process.wait()
    assert "n2 holds one that n1 could take" in reason
    assert proved == []


def test_holder_that_has_ended_proves_nothing(world, other, monkeypatch):
    monkeypatch.setattr(disk_locks, "BEAT_S", 0.2)
    other.kill()
    other.wait()
    assert check(world.places) == ("", [])
    file = world.own / "nodes/n2"
    os.utime(file, (0, 0))
    began = time.monotonic()
    assert check(world.places) == ("", [])
    assert time.monotonic() - began < 0.2, "what is long gone is not waited for"


def test_own_holder_is_not_taken_for_another_node(world):
    process = holder(world, "n1")
    try:
        assert check(world.places) == ("", [])
    finally:
        process.kill()
        process.wait()


def test_two_checks_at_once_are_no_reason(world):
    (world.own / "nodes").mkdir()
    code = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, 2); print(flush=True); input()"
    argv = [sys.executable, "-c", code, world.own / "nodes/.n1"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert check(world.places) == ("", [])
        process.communicate(b"\n")


def test_file_system_without_locks_is_refused(world, monkeypatch):
    def refuse(*_):
        raise OSError(37, os.strerror(37))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    assert "No locks available" in check(world.places)[0]


def run_agent(world, action, shell=("dash",)):
    programs = world.folder / "bin"
    if not programs.exists():
        programs.mkdir()
        for name, text in {
            "systemctl": f'case "$*" in *vm-mgr-disk-locks*) [ -e {world.folder}/held ] ;; esac',
            "systemd-run": f'echo "$@" >{world.folder}/held',
            "logger": "",
            "python3": f'exec {sys.executable} "$@"',
        }.items():
            (programs / name).write_text(f"#!/bin/sh\n{text}\n")
            (programs / name).chmod(0o755)
    environment = world.environment()
    environment |= {"PATH": f"{programs}:{environment['PATH']}", "VM_MGR_STATE": str(world.folder / "state")}
    environment |= {"VM_MGR_LIB": str(REPOSITORY / "src")}
    argv = [*shell, REPOSITORY / "ocf/DiskLocks", action]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("shell", [("dash",), ("busybox", "sh")])
def test_agent_starts_where_locks_may_lock_and_has_this_nodes_held(world, shell):
    assert run_agent(world, "monitor", shell).returncode == 7
    assert run_agent(world, "start", shell).returncode == 0
    assert "vm_mgr.ocf.disk_locks hold" in (world.folder / "held").read_text()
    (world.folder / "held").unlink()
    assert run_agent(world, "monitor", shell).returncode == 0
    assert (world.folder / "held").exists(), "as after an upgrade"
    assert run_agent(world, "stop", shell).returncode == 0
    assert run_agent(world, "monitor", shell).returncode == 7


SERVICES = """case "$1 $*" in
"show "*)
    for unit; do :; done
    cat "$BOX/began-$unit" 2>/dev/null || echo ActiveState=inactive
    ;;
"restart "*) echo "$2" >>"$BOX/restarted"; [ ! -e "$BOX/refuses" ] ;;
*vm-mgr-disk-locks*) [ -e "$BOX/held" ] ;;
esac"""


def began(world, unit, second):
    (world.folder / f"began-{unit}.service").write_text(
        f"ExecMainStartTimestampMonotonic={second * 1_000_000}\nActiveState=active\n"
    )


def restarted(world):
    path = world.folder / "restarted"
    found = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return found


@pytest.fixture(params=[("dash",), ("busybox", "sh")])
def services(world, request):
    """Give an agent whose services began when a test says so; it is started at a boot."""
    run_agent(world, "monitor")
    text = SERVICES.replace("$BOX", str(world.folder))
    (world.folder / "bin/systemctl").write_text(f"#!/bin/sh\n{text}\n")
    began(world, "virtlockd", 12)
    began(world, "libvirtd", 10)

    def run(action):
        return run_agent(world, action, request.param)

    assert run("start").returncode == 0
    assert restarted(world) == [], "at a boot one starts the other"
    return run


def test_lock_service_that_was_killed_is_told_of_the_leases_by_a_restart_of_libvirt(world, services):
    assert (services("monitor").returncode, restarted(world)) == (0, [])
    began(world, "virtlockd", 20)
    assert (services("monitor").returncode, restarted(world)) == (0, ["libvirtd.service"])
    began(world, "libvirtd", 21)
    assert (services("monitor").returncode, restarted(world)) == (0, [])


@pytest.mark.parametrize("unit", ["libvirtd", "virtqemud"])
def test_daemon_that_is_younger_or_does_not_run_is_left_alone(world, services, unit):
    (world.folder / "began-libvirtd.service").unlink()
    began(world, unit, 21)
    began(world, "virtlockd", 20)
    assert (services("monitor").returncode, restarted(world)) == (0, [])
    began(world, "virtlockd", 30)
    assert (services("monitor").returncode, restarted(world)) == (0, [f"{unit}.service"])


def test_start_finds_it_too_where_that_was_long_after_the_boot(world, services):
    assert services("stop").returncode == 0
    began(world, "virtlockd", 100)
    assert (services("start").returncode, restarted(world)) == (0, ["libvirtd.service"])


def test_libvirt_that_does_not_restart_is_said_and_tried_again(world, services):
    (world.folder / "refuses").touch()
    began(world, "virtlockd", 20)
    done = services("monitor")
    assert (done.returncode, "does not restart" in done.stderr) == (1, True)
    (world.folder / "refuses").unlink()
    restarted(world)
    assert (services("monitor").returncode, restarted(world)) == (0, ["libvirtd.service"])


def test_marker_that_can_not_be_written_fails_no_monitor(world, services):
    marker = world.folder / "state/disk-locks"
    marker.unlink()
    marker.mkdir()  # nothing can be written there
    began(world, "virtlockd", 11)
    assert services("monitor").returncode == 0


def test_marker_of_an_older_version_is_renewed(world, services):
    (world.folder / "state/disk-locks").write_text("")
    assert (services("monitor").returncode, restarted(world)) == (0, [])
    began(world, "virtlockd", 20)
    assert (services("monitor").returncode, restarted(world)) == (0, ["libvirtd.service"])


@pytest.mark.parametrize("shell", [("dash",), ("busybox", "sh")])
def test_agent_refuses_with_the_reason_where_locks_do_not_lock(world, shell):
    world.mount("nfs", "rw,vers=3,nolock,local_lock=all")
    done = run_agent(world, "start", shell)
    assert done.returncode == 1
    assert done.stderr.startswith(f"ocf-exit-reason:{world.shared} is mounted with nolock")
    assert run_agent(world, "monitor", shell).returncode == 7


def test_agent_does_not_refuse_what_it_could_not_find_out(world):
    world.places.etc.joinpath("qemu.conf").unlink()
    world.places.etc.joinpath("qemu.conf").mkdir()
    assert run_agent(world, "start").returncode == 0

"""A live migration keeps its promise: it arrives, or the VM runs on where it is and nothing is left."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest

from vm_mgr_lab import demo
from vm_mgr_lab.history import qemu_nodes
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until
from vm_mgr_lab.up import wait_ready

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

VM, MAC = "mover", 238
HOME, TARGET, ASKED = "n2", "n3", "n1"
MIB = 8  # per second: less than the guest dirties
# Touches each page of 48 MiB again and again.
DIRTY = (
    'perl -e \'my $m = "x" x (48 << 20); while (1) { '
    "for (0 .. (48 << 8) - 1) { substr($m, $_ << 12, 1) = chr(rand 256) } }'"
)
SLOW = ("--bandwidth", str(MIB), "--timeout", "20")


def run(lab: Lab, line: str, *, node: str = ASKED, code: int | None = 0) -> subprocess.CompletedProcess[str]:
    done = lab.execute(node, ["sh", "-c", line], check=False, timeout_s=400)
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return done


def guest(lab: Lab, line: str) -> str:
    command = [*lab.ssh_command(f"192.0.2.{MAC}"), line]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def make_busy(lab: Lab) -> None:
    """Wait until the guest has booted, and have it dirty its memory from then on."""
    wait_until(lambda: answers(lab), what="the guest's ssh", timeout_s=120)
    guest(lab, f"setsid {DIRTY} >/dev/null 2>&1 </dev/null &")


def answers(lab: Lab) -> bool:
    try:
        return boot_id(lab) != ""
    except subprocess.SubprocessError:
        return False


def boot_id(lab: Lab) -> str:
    """Tell the boot of the guest: a stop and a start would change it."""
    return guest(lab, "cat /proc/sys/kernel/random/boot_id")


def status(lab: Lab) -> dict[str, str]:
    told: dict[str, str] = json.loads(run(lab, f"vm-mgr status {VM} --output json").stdout)
    return told


def pid(lab: Lab, node: str) -> str:
    return run(lab, f"cat /run/libvirt/qemu/{VM}.pid", node=node).stdout.strip()


def left(lab: Lab) -> str:
    """Give all that a move may leave in the cluster's configuration, and the failures that are counted."""
    cib = run(lab, f"cibadmin -Q | grep -E 'vm-mgr-(move|terms|restart)-{VM}|cli-.*{VM}' || true").stdout
    failed = run(
        lab, f"crm_mon -1 --output-as=xml | grep -E 'op_key=.{VM}_|fail-count=.[1-9]' || true"
    ).stdout
    return cib + failed


def is_normal(lab: Lab, node: str) -> bool:
    seen = status(lab)
    return (seen["state"], seen["node"], seen["detail"]) == ("Started", node, "") and left(lab) == ""


@pytest.fixture(scope="module")
def vm(lab: Lab) -> Iterator[None]:
    """Give a guest that dirties its memory faster than a migration may send it."""
    options = ("--enable-live-migration", "--preferred-host", HOME, "--migrate-to-timeout", "180")
    try:
        demo.create_guest(lab, VM, print, mac_byte=MAC, node=ASKED, options=options)
        make_busy(lab)
        yield
    finally:
        run(lab, f"vm-mgr stop --force {VM}", code=None)
        demo.remove_guest(lab, VM, node=ASKED)
        run(lab, f"rm -f /root/guest-{MAC}.*")


@pytest.fixture
def at_home(lab: Lab, vm: None) -> None:
    if status(lab)["node"] != HOME:
        run(lab, f"vm-mgr migrate {VM} {HOME} --max-pause 60")
    wait_until(lambda: is_normal(lab, HOME), what=f"{VM} at {HOME}", timeout_s=180)


@contextmanager
def unharmed(lab: Lab) -> Iterator[None]:
    """Check that the same QEMU runs on at the source afterwards, and that nothing is left."""
    before, booted = pid(lab, HOME), boot_id(lab)
    yield
    # The claim of a command that was killed ends after 30 s, and only then nobody waits any more.
    wait_until(lambda: is_normal(lab, HOME), what=f"{VM} to be as before", timeout_s=120)
    assert qemu_nodes(lab, VM) == (HOME,)
    assert pid(lab, HOME) == before
    assert boot_id(lab) == booted
    assert run(lab, f"virsh domstate {VM}", node=HOME).stdout.strip() == "running"
    assert VM not in run(lab, "virsh list --all --name", node=TARGET).stdout.split()


def move_told(lab: Lab, since_s: float) -> bool:
    """Tell whether the chronicle has the move's begin at the source, then its end at the target."""
    events = json.loads(run(lab, f"vm-mgr events {VM} --since 10m --output json").stdout)["events"]
    recent = [one for one in events if datetime.fromisoformat(one["time"]).timestamp() > since_s]
    found = [(one["event"], one["node"]) for one in recent if one["event"] in ("moving", "moved")]
    return found == [("moving", HOME), ("moved", TARGET)]


@pytest.mark.turns
@pytest.mark.parametrize("strategy", ["precopy", "auto-converge", "auto"])
@pytest.mark.usefixtures("at_home")
def test_busy_guest_arrives(lab: Lab, strategy: str) -> None:
    booted, began_s = boot_id(lab), time.time()
    done = run(lab, f"vm-mgr migrate {VM} {TARGET} --strategy {strategy} {' '.join(SLOW)} --max-pause 40")
    assert "MiB/s, dirties" in done.stderr, "bytes and rates are shown on the way"
    assert (": the guest changes" in done.stderr) == (strategy == "auto"), "what was picked, and why"
    assert "carry 160 MiB" in done.stderr, "what may be late"
    # The service that keeps events may be some seconds behind.
    wait_until(lambda: move_told(lab, began_s), what="the move in vm-mgr events", timeout_s=180)
    assert qemu_nodes(lab, VM) == (TARGET,)
    assert boot_id(lab) == booted
    assert is_normal(lab, TARGET)


@pytest.mark.usefixtures("at_home")
def test_postcopy_arrives_or_is_refused_and_nothing_moves(lab: Lab) -> None:
    """Whether a container's QEMU may use userfaultfd is the host's to say."""
    booted = boot_id(lab)
    done = run(lab, f"vm-mgr migrate {VM} {TARGET} --strategy postcopy {' '.join(SLOW)}", code=None)
    assert done.returncode in (0, 11), done.stderr
    node = TARGET if done.returncode == 0 else HOME
    wait_until(lambda: is_normal(lab, node), what=f"{VM} at {node}", timeout_s=180)
    assert qemu_nodes(lab, VM) == (node,)
    assert boot_id(lab) == booted


@pytest.mark.usefixtures("at_home")
def test_move_that_cannot_end_is_aborted_cleanly_and_says_how_far_it_was(lab: Lab) -> None:
    with unharmed(lab):
        options = f"--strategy precopy {' '.join(SLOW)} --on-timeout abort"
        done = run(lab, f"vm-mgr migrate {VM} {TARGET} {options}", code=11)
        assert "did not end within 20 s" in done.stderr
        assert "MiB/s, dirties" in done.stderr
        assert is_normal(lab, HOME), "the command itself clears what the abort has left"


@pytest.mark.usefixtures("at_home")
def test_guest_that_sleeps_is_woken_and_moves(lab: Lab) -> None:
    booted = boot_id(lab)
    guest(lab, "(sleep 1; echo mem >/sys/power/state) >/dev/null 2>&1 </dev/null &")
    state = f"virsh domstate {VM}"
    asleep = "pmsuspended"
    wait_until(lambda: run(lab, state, node=HOME).stdout.strip() == asleep, what="its sleep", timeout_s=180)
    assert status(lab)["state"] == "Started"
    run(lab, f"vm-mgr migrate {VM} {TARGET} --max-pause 60")
    assert qemu_nodes(lab, VM) == (TARGET,)
    assert boot_id(lab) == booted


@pytest.mark.usefixtures("at_home")
def test_pause_that_would_be_too_long_is_none(lab: Lab) -> None:
    with unharmed(lab):
        # Half of the memory is still to be sent then; what the guest changes meanwhile is not known yet.
        options = f"--strategy precopy --bandwidth {MIB} --timeout 10 --max-pause 2"
        assert "a pause would take" in run(lab, f"vm-mgr migrate {VM} {TARGET} {options}", code=11).stderr


@pytest.mark.turns
@pytest.mark.parametrize("signal", ["KILL", "TERM"])
@pytest.mark.usefixtures("at_home")
def test_command_that_is_killed_in_the_middle_leaves_nothing(lab: Lab, signal: str) -> None:
    with unharmed(lab):
        options = f"--strategy precopy {' '.join(SLOW)} --on-timeout abort"
        line = f"vm-mgr migrate {VM} {TARGET} {options} >/dev/null 2>&1 & echo $!"
        command = run(lab, line).stdout.strip()
        wait_until(lambda: set(qemu_nodes(lab, VM)) == {HOME, TARGET}, what="the move", timeout_s=180)
        run(lab, f"kill -{signal} {command}")
        wait_until(lambda: qemu_nodes(lab, VM) == (HOME,), what="the end of the move", timeout_s=180)


@pytest.mark.usefixtures("at_home")
def test_target_without_libvirt_is_refused_before_anything_moves(lab: Lab) -> None:
    units = "libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd.service"
    units += " virtqemud.socket virtqemud-ro.socket virtqemud-admin.socket virtqemud.service"
    states = run(lab, f"systemctl is-active {units}", node=TARGET, code=None).stdout.split()
    active = [unit for unit, state in zip(units.split(), states, strict=True) if state == "active"]
    with unharmed(lab):
        run(lab, f"systemctl stop {' '.join(active)}", node=TARGET)
        try:
            began = time.monotonic()
            done = run(lab, f"vm-mgr migrate {VM} {TARGET}", code=5)
            assert f"the libvirt of {TARGET} can't be reached" in done.stderr
            assert time.monotonic() - began < 40
        finally:
            run(lab, f"systemctl start {' '.join(reversed(active))}", node=TARGET)


@contextmanager
def bound_to_fail(lab: Lab) -> Iterator[None]:
    """Give the VM settings with which no migration ends, for those moves that nobody asks for."""
    settings = "--migration-bandwidth 1 --migration-timeout-action abort --migrate-to-timeout 30"
    back = "--unset migration-bandwidth --unset migration-timeout-action --migrate-to-timeout 180"
    change = "vm-mgr set {vm} {what} && vm-mgr disable {vm} && vm-mgr enable {vm}"
    run(lab, change.format(vm=VM, what=settings))
    make_busy(lab)
    try:
        yield
    finally:
        run(lab, change.format(vm=VM, what=back))
        make_busy(lab)


@pytest.mark.usefixtures("at_home")
def test_standby_never_restarts_a_vm_that_cannot_move(lab: Lab) -> None:
    tries = f"/run/vm-mgr/move-tries..{VM}"
    with bound_to_fail(lab), unharmed(lab):
        run(lab, f"rm -f {tries}", node=HOME)  # those of the moves before
        run(lab, f"crm_standby --node {HOME} --update on")
        try:
            count = f"cat {tries} 2>/dev/null || echo 0"
            wait_until(
                lambda: int(run(lab, count, node=HOME).stdout) >= 2, what="the second try", timeout_s=180
            )
            assert HOME in qemu_nodes(lab, VM)
        finally:
            run(lab, f"crm_standby --node {HOME} --delete")


@pytest.mark.usefixtures("at_home")
def test_node_that_shuts_down_is_not_held_up_for_ever(lab: Lab) -> None:
    with bound_to_fail(lab):
        began = time.monotonic()
        try:
            run(lab, "systemctl stop pacemaker", node=HOME)
            assert time.monotonic() - began < 300
            wait_until(lambda: status(lab)["state"] == "Started", what=f"{VM} elsewhere", timeout_s=120)
            assert HOME not in qemu_nodes(lab, VM)
        finally:
            run(lab, "systemctl start pacemaker", node=HOME)
            wait_until(
                lambda: run(lab, f"crm_mon -1 | grep -E 'Online:.*{HOME}' || true").stdout != "",
                what=f"{HOME} to be back",
                timeout_s=120,
            )


@pytest.mark.usefixtures("at_home")
def test_change_of_the_operation_does_not_disturb_the_vm(lab: Lab) -> None:
    """What an older version has written is brought up to date by the next change of settings, or move."""
    operation = f"vm-mgr-op-{VM}..migrate_to"
    older = f'<op id="{operation}" name="migrate_to" interval="0s" timeout="180s"/>'
    holds = f"cibadmin --query --xpath \"//op[@id='{operation}']//nvpair[@value='block']\""
    with unharmed(lab):
        run(lab, f"cibadmin --replace --xml-text '{older}'")
        assert run(lab, holds, code=None).returncode != 0
        run(lab, f"vm-mgr set {VM} --priority 3")
        run(lab, holds)
        run(lab, f"vm-mgr set {VM} --unset priority")
        run(lab, "crm_resource --wait --timeout 150s")  # a restart would begin at once


@pytest.mark.usefixtures("at_home")
def test_move_gives_way_to_the_fencing_of_another_node(lab: Lab) -> None:
    """Pacemaker fences only when what it has begun has ended; this move would take 100 s.

    The next controller in the place of a lost one does not wait for what that had begun.
    """
    if run(lab, f"crm_mon -1 | grep 'Current DC: {ASKED} '", code=None).returncode == 0:
        run(lab, "systemctl restart pacemaker")
        wait_ready(lab, print)
    began_s = time.time()
    with unharmed(lab):
        options = "--strategy precopy --bandwidth 1 --timeout 100 --on-timeout abort"
        line = f"vm-mgr migrate {VM} {TARGET} {options} >/root/gave-way 2>&1; echo $? >>/root/gave-way"
        run(lab, f"({line}) </dev/null >/dev/null 2>&1 &", node=HOME)
        wait_until(lambda: set(qemu_nodes(lab, VM)) == {HOME, TARGET}, what="the move", timeout_s=180)
        lab.cut_power(ASKED)
        wait_until(lambda: fenced_s(lab, began_s) is not None, what="the fencing", timeout_s=120)
        waited_s = fenced_s(lab, began_s)
        wait_ready(lab, print)
        told = run(lab, "cat /root/gave-way; rm /root/gave-way", node=HOME).stdout
    assert f"gave way to a recovery: node {ASKED} is lost" in told
    assert told.splitlines()[-1] == "7"
    assert waited_s is not None
    assert waited_s < 40, "a loaded machine takes longer, but never as long as the move"


def fenced_s(lab: Lab, since_s: float) -> float | None:
    """Give how long after its loss the node that asks was fenced, if it was since a time."""
    told = json.loads(run(lab, "vm-mgr events --since 10m --output json", node=HOME).stdout)
    for failover in told["failovers"]:
        if datetime.fromisoformat(failover["began"]).timestamp() > since_s and failover["node"] == ASKED:
            for phase in failover["phases"]:
                if phase["event"] == "fenced":
                    return float(phase["at_ms"]) / 1000
    return None

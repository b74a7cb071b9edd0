"""A guest whose VM hibernates goes on with its memory on another node, once, or boots and says why."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from vm_mgr_lab import demo
from vm_mgr_lab.history import qemu_nodes
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.turns, pytest.mark.timeout(900)]

VM, MAC = "sleeper", 239
HOME, TARGET, ASKED = "n2", "n3", "n1"
STORAGES = ("ceph", "vms")
# The time of the test's beginning, in UTC: earlier tests had a VM of the same name.
BEGAN = {"utc": ""}


def run(lab: Lab, line: str, *, node: str = ASKED, code: int | None = 0) -> subprocess.CompletedProcess[str]:
    done = lab.execute(node, ["sh", "-c", line], check=False, timeout_s=500)
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return done


def guest(lab: Lab, line: str) -> str:
    command = [*lab.ssh_command(f"192.0.2.{MAC}"), line]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def boot_id(lab: Lab) -> str:
    return guest(lab, "cat /proc/sys/kernel/random/boot_id")


def answers(lab: Lab) -> bool:
    try:
        return boot_id(lab) != ""
    except subprocess.SubprocessError:
        return False


def status(lab: Lab) -> dict[str, str]:
    told: dict[str, str] = json.loads(run(lab, f"vm-mgr status {VM} --output json").stdout)
    return told


def saved(lab: Lab) -> str:
    told: str = json.loads(run(lab, f"vm-mgr show {VM} --output json").stdout)["saved"]["state"]
    return told


def events(lab: Lab, subject: str = VM) -> list[str]:
    told = json.loads(run(lab, f"vm-mgr events {subject} --since 10m --output json").stdout)["events"]
    return [one["event"] for one in told if one["time"] > BEGAN["utc"]]


def is_normal(lab: Lab, *nodes: str) -> bool:
    seen = status(lab)
    return seen["state"] == "Started" and seen["detail"] == "" and (not nodes or seen["node"] in nodes)


def left(lab: Lab) -> str:
    """Give what saving may leave in the storages and on the nodes."""
    found = run(lab, f"rbd ls rbd | grep -E 'vm-mgr-(saving|saved|resumed)_{VM}' || true").stdout
    found += run(lab, f"ls /srv/vms/{VM} 2>/dev/null | grep -E 'memory|saved|resumed' || true").stdout
    for node in (HOME, TARGET, ASKED):
        found += run(lab, "ls /var/lib/vm-mgr/memory 2>/dev/null || true", node=node).stdout
    return found


@pytest.fixture(params=STORAGES)
def vm(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    """Give a guest that hibernates, at home, with its ssh answering."""
    BEGAN["utc"] = datetime.now(UTC).isoformat()
    options = ("--on-move", "hibernate", "--preferred-host", HOME, "--storage", request.param)
    try:
        demo.create_guest(lab, VM, print, mac_byte=MAC, node=ASKED, options=options)
        run(lab, f"vm-mgr set {VM} --unset preferred-host")
        wait_until(lambda: answers(lab), what="the guest's ssh", timeout_s=180)
        yield VM
    finally:
        run(lab, f"vm-mgr stop --force {VM}", code=None)
        demo.remove_guest(lab, VM, node=ASKED)
        run(lab, f"rm -f /root/guest-{MAC}.*")
    assert left(lab) == ""


@contextmanager
def session(lab: Lab) -> Iterator[None]:
    """Keep an ssh session open, and a process in the guest; both must be the same afterwards."""
    booted = boot_id(lab)
    process = guest(lab, "setsid sleep 10000 >/dev/null 2>&1 </dev/null & echo $!")
    command = [*lab.ssh_command(f"192.0.2.{MAC}"), "cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as talk:
        assert talk.stdin is not None
        assert talk.stdout is not None
        try:
            talk.stdin.write("before\n")
            talk.stdin.flush()
            assert talk.stdout.readline() == "before\n"
            yield
            talk.stdin.write("after\n")
            talk.stdin.flush()
            assert talk.stdout.readline() == "after\n"
        finally:
            talk.kill()
    assert boot_id(lab) == booted
    assert guest(lab, f"cat /proc/{process}/comm") == "sleep"


@contextmanager
def standby(lab: Lab, node: str) -> Iterator[None]:
    run(lab, f"crm_standby --node {node} --update on")
    try:
        yield
    finally:
        run(lab, f"crm_standby --node {node} --delete")


def test_move_keeps_an_open_session_and_says_what_it_does(lab: Lab, vm: str) -> None:
    with session(lab):
        done = run(lab, f"vm-mgr migrate {VM} {TARGET}")
        assert "saved" in done.stderr
        assert qemu_nodes(lab, VM) == (TARGET,)
    wait_until(lambda: {"saved", "resumed"} <= set(events(lab)), what="the events", timeout_s=180)
    assert "not-saved" not in events(lab)
    assert saved(lab) == ""
    assert left(lab) == ""


def test_drain_takes_it_along_and_it_returns_home_with_its_memory(lab: Lab, vm: str) -> None:
    run(lab, f"vm-mgr set {VM} --preferred-host {HOME} --failback return")
    with session(lab):
        told = json.loads(run(lab, f"vm-mgr migrate --all-from {HOME} --standby --output json").stdout)
        try:
            assert [one["how"] for one in told["moved"] if one["name"] == VM] == ["resumed"]
            assert qemu_nodes(lab, VM) != (HOME,)
            refused = run(lab, f"vm-mgr migrate --all-from {HOME}", code=None)
            assert "standby" in refused.stderr
        finally:
            run(lab, f"crm_standby --node {HOME} --lifetime reboot --delete")
        wait_until(lambda: is_normal(lab, HOME), what="its return", timeout_s=180)
    run(lab, f"vm-mgr set {VM} --failback stay")
    with session(lab):
        told = json.loads(run(lab, f"vm-mgr migrate --all-from {HOME} --output json").stdout)
        assert [one["how"] for one in told["moved"] if one["name"] == VM] == ["resumed"]
        assert qemu_nodes(lab, VM) != (HOME,)
    away = status(lab)["node"]
    run(lab, f"vm-mgr set {VM} --failback return", code=5)
    assert is_normal(lab, away)
    assert "not-saved" not in events(lab)
    assert left(lab) == ""


def test_standby_keeps_an_open_session(lab: Lab, vm: str) -> None:
    with session(lab), standby(lab, HOME):
        wait_until(lambda: is_normal(lab, TARGET, ASKED), what=f"{VM} elsewhere", timeout_s=300)
        assert HOME not in qemu_nodes(lab, VM)
    assert left(lab) == ""


def test_stop_and_restart_shut_the_guest_down(lab: Lab, vm: str) -> None:
    booted = boot_id(lab)
    run(lab, f"vm-mgr stop {VM}")
    assert saved(lab) == ""
    run(lab, f"vm-mgr start {VM}")
    wait_until(lambda: answers(lab), what="the guest's ssh", timeout_s=180)
    assert boot_id(lab) != booted
    assert "saved" not in events(lab)


def ban(lab: Lab, nodes: tuple[str, ...]) -> None:
    for node in nodes:
        rule = f'<rsc_location id="cli-ban-{VM}-on-{node}" rsc="{VM}" node="{node}" score="-INFINITY"/>'
        run(lab, f"cibadmin --create -o constraints --xml-text '{rule}'")


@contextmanager
def asleep(lab: Lab) -> Iterator[None]:
    """Have it saved, with nowhere to go on."""
    ban(lab, (TARGET, ASKED))
    run(lab, f"crm_standby --node {HOME} --update on")
    try:
        wait_until(
            lambda: saved(lab) == "complete",
            what="the saved memory",
            timeout_s=300,
        )
        assert qemu_nodes(lab, VM) == ()
        assert "memory saved" in status(lab)["detail"]
        yield
    finally:
        run(lab, f"vm-mgr unmigrate {VM}")
        run(lab, f"crm_standby --node {HOME} --delete")


def test_power_cut_between_saving_and_resuming_costs_nothing(lab: Lab, vm: str) -> None:
    with session(lab):
        with asleep(lab):
            lab.cut_power(HOME)
            wait_until(lambda: "fenced" in events(lab, HOME), what=f"{HOME} to be fenced", timeout_s=120)
        wait_until(lambda: is_normal(lab), what=f"{VM} to go on", timeout_s=300)
    wait_until(
        lambda: run(lab, f"crm_mon -1 | grep -E 'Online:.*{HOME}' || true").stdout != "",
        what=f"{HOME} to be back",
        timeout_s=300,
    )


def test_saved_memory_is_guarded_and_given_up_on_demand(lab: Lab, vm: str) -> None:
    booted = boot_id(lab)
    with asleep(lab):
        run(lab, f"vm-mgr show {VM} --xml > /root/{VM}-by-hand.xml")
        by_hand = run(lab, f"virsh create /root/{VM}-by-hand.xml; rm -f /root/{VM}-by-hand.xml", code=None)
        assert "its memory is saved" in by_hand.stderr
        assert qemu_nodes(lab, VM) == ()
        assert "stop --force" in run(lab, f"vm-mgr resize-disk {VM} 30G", code=5).stderr
        assert "given up" in run(lab, f"vm-mgr stop --force {VM}").stderr
        assert saved(lab) == ""
    run(lab, f"vm-mgr start {VM}")
    wait_until(lambda: answers(lab), what="the guest's ssh", timeout_s=180)
    assert boot_id(lab) != booted


def test_killed_save_leaves_one_guest_and_nothing_else(lab: Lab, vm: str) -> None:
    """A killed stop has failed: the node is fenced, and the guest boots, or goes on if it was saved."""
    agent = r"python3 -P -m vm_mgr\.ocf stop"
    line = f"until p=$(pgrep -of '^{agent}'); do sleep 0.05; done; sleep 0.4; kill -KILL $p"
    run(lab, f'systemd-run --quiet --collect sh -c "{line.replace("$", "$$")}"', node=HOME)
    run(lab, f"vm-mgr migrate {VM} {TARGET}", code=None)
    wait_until(lambda: is_normal(lab), what=f"{VM} to run", timeout_s=400)
    assert len(qemu_nodes(lab, VM)) == 1
    wait_until(lambda: answers(lab), what="the guest's ssh", timeout_s=180)
    assert saved(lab) != "complete"
    wait_until(
        lambda: run(lab, f"crm_mon -1 | grep -E 'Online:.*{HOME}' || true").stdout != "",
        what=f"{HOME} to be back",
        timeout_s=300,
    )
    run(lab, f"vm-mgr migrate {VM} {HOME if status(lab)['node'] != HOME else TARGET}")
    assert left(lab) == ""


def test_setting_changes_without_disturbing_the_guest(lab: Lab, vm: str) -> None:
    with session(lab):
        before = run(lab, f"cat /run/libvirt/qemu/{VM}.pid", node=HOME).stdout
        for how in ("restart", "migrate", "hibernate"):
            run(lab, f"vm-mgr set {VM} --on-move {how}")
            told = json.loads(run(lab, f"vm-mgr show {VM} --output json").stdout)
            assert told["placement"]["on_move"] == how
        assert run(lab, f"cat /run/libvirt/qemu/{VM}.pid", node=HOME).stdout == before

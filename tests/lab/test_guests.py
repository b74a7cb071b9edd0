"""Commands at a running guest, on the real cluster and in each storage where that matters."""

import json
import time
from collections.abc import Iterator

import pytest

from vm_mgr_lab.history import qemu_nodes
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until

from .guest import QUICK, at, clean, create, domain_of, node_of, shown
from .test_life import shell, vm_mgr

pytestmark = [pytest.mark.lab, pytest.mark.turns, pytest.mark.timeout(400)]

LIVE = (*QUICK, "--enable-live-migration", "--migration-user", "root")
BOTH = pytest.mark.parametrize("storage", ["ceph", "vms"])


@pytest.fixture(autouse=True)
def around(lab: Lab) -> Iterator[None]:
    with clean(lab):
        yield


def failures(lab: Lab, name: str) -> str:
    seen = shell(lab, "crm_mon -1 --inactive --show-detail --exclude=all --include=failures,failcounts")
    return "\n".join(line for line in seen.splitlines() if name in line)


def sources(lab: Lab, name: str) -> list[str]:
    """Name the disks that the guest has, as libvirt knows it."""
    return [line.split()[1] for line in domain_of(lab, name, "domblklist NAME").splitlines()]


def source_of(storage: str, name: str, number: int) -> str:
    ceph, file = (
        (f"system_{name}", "system") if number == 0 else (f"data_{name}_{number - 1}", f"data_{number - 1}")
    )
    return f"rbd/{ceph}" if storage == "ceph" else f"/srv/vms/{name}/{file}.qcow2"


def stored(lab: Lab, storage: str, name: str) -> list[str]:
    """Name the VM's disks, as the storage knows them."""
    if storage == "ceph":
        return sorted(shell(lab, f"rbd group image list rbd/{name}").split())
    return sorted(shell(lab, f"ls /srv/vms/{name}/*.qcow2").split())


def patterns(lab: Lab, storage: str, name: str, number: int = 0) -> list[int]:
    """Tell which of three patterns stands 1 MiB into a disk, which may be in use."""
    source, kind = source_of(storage, name, number), "raw" if storage == "ceph" else "qcow2"
    target = f"rbd:{source}:id=vm-mgr" if storage == "ceph" else source
    read = f"qemu-io -r -U -f {kind} -c 'read -P {{}} 1M 64k' {target} >/dev/null 2>&1"
    return [
        one
        for one in (1, 2, 3)
        if lab.execute("n1", ["sh", "-c", read.format(one)], check=False).returncode == 0
    ]


def write(lab: Lab, name: str, pattern: int) -> None:
    """Write to every disk of a running VM, as its guest would."""
    node = node_of(lab, name)
    asked = at(lab, node, f"""virsh -q qemu-monitor-command {name} '{{"execute":"query-block"}}'""")
    for device in json.loads(asked)["return"]:
        inner = f'qemu-io -d {device["qdev"]} "write -P {pattern} 1M 64k"'
        answer = at(lab, node, f"virsh -q qemu-monitor-command {name} --hmp '{inner}'")
        assert answer.strip() == ""  # what was written is told to QEMU's log


@BOTH
def test_paused_guest_stays_paused_through_a_move_and_can_be_stopped(lab: Lab, storage: str) -> None:
    create(lab, "cmd1", storage, *LIVE)
    first = node_of(lab, "cmd1")
    assert f"cmd1 is paused on {first}" in vm_mgr(lab, "pause", "cmd1")
    assert domain_of(lab, "cmd1", "domstate --reason NAME") == "paused (user)"
    at(lab, first, "crm_resource --resource cmd1 --force-check")  # the agent's monitor: it runs
    vm_mgr(lab, "pause", "cmd1")
    vm_mgr(lab, "migrate", "cmd1")
    second = node_of(lab, "cmd1")
    assert second != first
    assert domain_of(lab, "cmd1", "domstate NAME") == "paused"
    seen = shown(lab, "cmd1")
    assert (seen["state"], seen["node"], bool(seen["paused"])) == ("Started", second, True)
    vm_mgr(lab, "resume", "cmd1")
    assert domain_of(lab, "cmd1", "domstate NAME") == "running"
    assert shown(lab, "cmd1")["paused"] == ""
    vm_mgr(lab, "resume", "cmd1")
    vm_mgr(lab, "pause", "cmd1")
    vm_mgr(lab, "stop", "cmd1")
    assert qemu_nodes(lab, "cmd1") == ()
    vm_mgr(lab, "pause", "cmd1", code=5)
    assert failures(lab, "cmd1") == ""


# Sits at the console as a person does: types, reads, leaves it with Ctrl-].
PERSON = r"""
import os, pty, select, sys, time
child, terminal = pty.fork()
if child == 0:
    os.execvp("vm-mgr", ["vm-mgr", "console", "cmd1"])
seen = b""
def until(wanted, typing=b""):
    global seen
    end = time.monotonic() + 40
    while wanted not in seen:
        if time.monotonic() > end:
            sys.exit(f"no {wanted!r}: {seen!r}")
        if typing:
            os.write(terminal, typing)
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 4096)
until(b"leave it with Ctrl-]")
until(b"lAB", b"Lab")  # typed again until the guest has booted
os.write(terminal, b"\x1d")
end = time.monotonic() + 20
while time.monotonic() < end:
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        sys.exit(os.waitstatus_to_exitcode(status))
    if select.select([terminal], [], [], 0.2)[0]:
        try:
            os.read(terminal, 4096)
        except OSError:
            pass  # nobody has the other side any more
sys.exit("the console did not end")
"""


def test_console_reaches_the_guest_from_any_node_and_leaves_it_running(lab: Lab) -> None:
    create(lab, "cmd1", "ceph", *QUICK, "--preferred-host", "n2")
    for node in ("n1", "n2"):
        done = lab.execute(node, ["python3", "-"], stdin=PERSON, check=False, timeout_s=120)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "terminal" in vm_mgr(lab, "console", "cmd1", code=8)
    assert domain_of(lab, "cmd1", "domstate NAME") == "running"


def test_forced_stop_does_not_wait_for_the_guest_nor_for_another_stop(lab: Lab) -> None:
    create(lab, "cmd1", "vms", "--stop-timeout", "90")
    for before in ("", "(vm-mgr stop cmd1 >/dev/null 2>&1 &)"):
        vm_mgr(lab, "start", "cmd1")
        if before:
            shell(lab, before)
            wait_until(lambda: shown(lab, "cmd1")["state"] == "Stopping", what="the stop", timeout_s=180)
        begun = time.monotonic()
        done = lab.execute("n1", ["vm-mgr", "--debug", "stop", "--force", "cmd1"], timeout_s=120)
        assert time.monotonic() - begun < 40, done.stdout + done.stderr
        assert qemu_nodes(lab, "cmd1") == ()
        assert failures(lab, "cmd1") == ""
    assert shown(lab, "cmd1")["failures"] == []


@BOTH
def test_disk_comes_and_goes_while_the_guest_runs_or_not(lab: Lab, storage: str) -> None:
    create(lab, "cmd1", storage, *LIVE, "--nostart")
    expected = [source_of(storage, "cmd1", number) for number in range(3)]
    assert "4 MiB" in vm_mgr(lab, "add-disk", "cmd1", "4M")
    assert stored(lab, storage, "cmd1") == sorted(expected[:2])
    assert "is removed" in vm_mgr(lab, "remove-disk", "cmd1", "1", "--yes")
    assert stored(lab, storage, "cmd1") == expected[:1]
    vm_mgr(lab, "start", "cmd1")
    vm_mgr(lab, "add-disk", "cmd1", "4M")
    vm_mgr(lab, "add-disk", "cmd1", "--image", "/root/cmd.qcow2")
    assert sources(lab, "cmd1") == expected
    assert stored(lab, storage, "cmd1") == sorted(expected)
    vm_mgr(lab, "migrate", "cmd1")
    assert sources(lab, "cmd1") == expected
    vm_mgr(lab, "remove-disk", "cmd1", "1", code=5)
    vm_mgr(lab, "remove-disk", "cmd1", "0", code=2)
    vm_mgr(lab, "remove-disk", "cmd1", "2")
    assert sources(lab, "cmd1") == expected[:2]
    assert stored(lab, storage, "cmd1") == sorted(expected[:2])
    vm_mgr(lab, "restart", "cmd1")
    assert sources(lab, "cmd1") == expected[:2]


@BOTH
def test_disk_that_the_machine_can_not_be_given_is_taken_back(lab: Lab, storage: str) -> None:
    """Without ACPI nothing can be plugged in."""
    shell(lab, "sed -i 's,<acpi/>,,' /root/cmd.xml")
    create(lab, "cmd1", storage, *QUICK)
    before = stored(lab, storage, "cmd1"), vm_mgr(lab, "show", "cmd1", "--xml"), sources(lab, "cmd1")
    vm_mgr(lab, "add-disk", "cmd1", "4M", code=11)
    assert (
        stored(lab, storage, "cmd1"),
        vm_mgr(lab, "show", "cmd1", "--xml"),
        sources(lab, "cmd1"),
    ) == before
    assert shown(lab, "cmd1")["unfinished"] == ""


def test_disk_that_the_guest_keeps_stays(lab: Lab) -> None:
    """A guest without a system never answers: half a minute is waited for it."""
    shell(lab, "qemu-img create -q -f qcow2 /root/cmd.qcow2 8M")
    create(lab, "cmd1", "ceph", *QUICK)
    vm_mgr(lab, "add-disk", "cmd1", "4M")
    before = stored(lab, "ceph", "cmd1"), vm_mgr(lab, "show", "cmd1", "--xml"), sources(lab, "cmd1")
    assert "does not release" in vm_mgr(lab, "remove-disk", "cmd1", "1", "--yes", code=5)
    assert (stored(lab, "ceph", "cmd1"), vm_mgr(lab, "show", "cmd1", "--xml"), sources(lab, "cmd1")) == before
    assert shown(lab, "cmd1")["unfinished"] == ""
    vm_mgr(lab, "stop", "cmd1")
    vm_mgr(lab, "remove-disk", "cmd1", "1", "--yes")
    assert stored(lab, "ceph", "cmd1") == before[0][1:]


@BOTH
def test_running_vm_of_two_disks_is_snapshotted_rolled_back_and_cloned(lab: Lab, storage: str) -> None:
    create(lab, "cmd1", storage, *QUICK, "--additional-disk", "/root/cmd.qcow2")
    for pattern, snapshot in ((1, "one"), (2, "two")):
        write(lab, "cmd1", pattern)
        assert "crash" in vm_mgr(lab, "create-snapshot", "cmd1", "--snap-name", snapshot)
    write(lab, "cmd1", 3)
    assert domain_of(lab, "cmd1", "domstate NAME") == "running"
    vm_mgr(lab, "create-snapshot", "cmd1", "--snap-name", "two", code=4)
    vm_mgr(lab, "remove-snapshot", "cmd1", "--snap-name", "two")
    assert [one["name"] for one in shown(lab, "cmd1")["snapshots"]] == ["one"]
    vm_mgr(lab, "clone", "cmd1", "--dst-name", "cmd2", "--disable")
    assert [patterns(lab, storage, "cmd2", number) for number in (0, 1)] == [[3], [3]]
    assert [one["name"] for one in shown(lab, "cmd1")["snapshots"]] == ["one"]
    assert shown(lab, "cmd2")["snapshots"] == []
    assert "Started" in vm_mgr(lab, "rollback", "cmd1", "--snap-name", "one", "--yes")
    assert [patterns(lab, storage, "cmd1", number) for number in (0, 1)] == [[1], [1]]
    assert [patterns(lab, storage, "cmd2", number) for number in (0, 1)] == [[3], [3]]
    vm_mgr(lab, "purge", "cmd1")
    assert shown(lab, "cmd1")["snapshots"] == []
    if storage == "vms":
        for number in (0, 1):
            path = source_of(storage, "cmd1", number)
            assert shell(lab, f"qemu-img snapshot -U -l {path}") == ""
    assert qemu_nodes(lab, "cmd1") == (node_of(lab, "cmd1"),)


def test_running_guest_sees_its_larger_disk_in_the_shared_directory(lab: Lab) -> None:
    create(lab, "cmd1", "vms", *QUICK)
    vm_mgr(lab, "resize-disk", "cmd1", "16M")
    assert f"Capacity:       {16 << 20}" in domain_of(lab, "cmd1", "domblkinfo NAME vda")
    info = json.loads(shell(lab, "qemu-img info -U --output=json /srv/vms/cmd1/system.qcow2"))
    assert info["virtual-size"] == 16 << 20 == shown(lab, "cmd1")["disks"][0]["size_bytes"]


def test_held_guest_goes_on_by_its_nodes_timer_which_another_node_sets(lab: Lab) -> None:
    """The command that held it is dead by then; its limit of 30 s is as short here as the test wants it."""
    node = node_of(lab, create(lab, "cmd1", "ceph"))
    asking = next(one for one in ("n2", "n3", "n1") if one != node)
    ask = f"ssh {node}-cluster -- /usr/bin/python3 -P -m vm_mgr.ocf.hold"
    assert "vm-mgr hold:" in at(lab, asking, f"{ask} begin cmd1 paused 3")
    domain_of(lab, "cmd1", "suspend NAME")
    assert domain_of(lab, "cmd1", "domstate NAME") == "paused"
    wait_until(lambda: domain_of(lab, "cmd1", "domstate NAME") == "running", what="the guest", timeout_s=20)
    wait_until(lambda: "let-go" in vm_mgr(lab, "events", "cmd1"), what="its event", timeout_s=10)
    assert "vm-mgr hold:" in at(lab, asking, f"{ask} end cmd1")
    refused = lab.execute(
        asking, ["sh", "-c", f"ssh {node}-cluster -- cat /etc/hostname </dev/null"], check=False
    )
    assert node not in refused.stdout.split()


def test_vm_without_a_definition_of_its_own_starts_and_is_reached(lab: Lab) -> None:
    """The template starts on these nodes; the small guest has no agent, but a screen and hot plug."""
    vm_mgr(lab, "create", "cmd1", "--image", "/root/cmd.qcow2", "--memory", "64M", "--network", "br0", *QUICK)
    vm_mgr(lab, "screenshot", "cmd1", "/root/cmd1.png")
    assert shell(lab, "head -c 4 /root/cmd1.png | tail -c 3; rm /root/cmd1.png") == "PNG"
    assert "vnc://localhost:59" in vm_mgr(lab, "console", "cmd1", "--graphical")
    assert "install qemu-guest-agent" in vm_mgr(lab, "exec", "cmd1", "true", code=8)
    assert "install qemu-guest-agent" in vm_mgr(lab, "address", "cmd1", code=7)
    vm_mgr(lab, "set", "cmd1", "--add-network", "br0")
    assert len(domain_of(lab, "cmd1", "domiflist NAME").strip().splitlines()) == 2
    medium = "/srv/vms/medium.iso"  # where every node has it
    shell(lab, f"echo medium >{medium}")
    vm_mgr(lab, "set", "cmd1", "--insert", medium)
    assert medium in domain_of(lab, "cmd1", "domblklist NAME")
    vm_mgr(lab, "set", "cmd1", "--eject")
    assert medium not in domain_of(lab, "cmd1", "domblklist NAME")
    shell(lab, f"rm {medium}")


def test_node_whose_lock_service_was_killed_starts_vms_of_a_directory_again(lab: Lab) -> None:
    """libvirt tells its lock service of the leases' folder only at its own start.

    And a lease that is taken anew by a guest that ran already ends with no process: the stop lets go of it.
    """
    node, dead = "n2", "systemctl kill --signal=KILL virtlockd.service"
    create(lab, "cmd2", "vms", "--pinned-host", node, *QUICK)
    before = at(lab, node, "systemctl show --property=ExecMainStartTimestampMonotonic --value virtlockd")
    began = at(lab, node, "systemctl show --property=MainPID --value libvirtd").strip()
    at(lab, node, f"{dead}; sleep 1; systemctl start virtlockd.service")
    after = at(lab, node, "systemctl show --property=ExecMainStartTimestampMonotonic --value virtlockd")
    assert after != before
    wait_until(
        lambda: at(lab, node, "systemctl show --property=MainPID --value libvirtd").strip() != began,
        what="libvirt to be started anew",
        timeout_s=180,
    )
    create(lab, "cmd1", "vms", "--pinned-host", node, *QUICK)
    vm_mgr(lab, "pause", "cmd2")
    vm_mgr(lab, "resume", "cmd2")
    vm_mgr(lab, "restart", "cmd2")
    vm_mgr(lab, "pause", "cmd2")
    vm_mgr(lab, "resume", "cmd2")
    at(lab, node, f"{dead}; sleep 1; kill -9 $(cat /run/libvirt/qemu/cmd2.pid)")
    for name in ("cmd1", "cmd2"):
        wait_until(lambda name=name: runs_well(lab, name), what=f"{name} to run", timeout_s=180)  # type: ignore[misc]
        assert node_of(lab, name) == node
    assert failures(lab, "cmd1") == ""


def runs_well(lab: Lab, name: str) -> bool:
    told = json.loads(vm_mgr(lab, "status", name, "--output", "json"))
    alive = at(lab, told["node"], f"kill -0 $(cat /run/libvirt/qemu/{name}.pid) && echo yes || true")
    return (told["state"], told["detail"], alive.strip()) == ("Started", "", "yes")

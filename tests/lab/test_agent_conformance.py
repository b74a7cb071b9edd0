"""The resource agent against real libvirt: its conformance table, and deeper checks run by Pacemaker."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree

from vm_mgr.errors import EXIT_CODES, Kind
from vm_mgr_lab.history import qemu_nodes
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until

from .guest import at, clean, create, node_of, shown
from .node import conformance
from .test_life import shell, vm_mgr
from .turns import share

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

NODE = "n1"
FOLDER = "/tmp/conformance"
SHELLS = {"sh": ("sh",), "busybox sh": (f"{FOLDER}/busybox", "sh")}
PLAY_S = 600
# Whichever daemon the node has.
DAEMON = "systemctl is-enabled --quiet virtqemud.service && d=virtqemud || d=libvirtd"
HALT, GO_ON = (f"systemctl kill --kill-whom=main --signal={one} $d.service" for one in ("STOP", "CONT"))


@pytest.fixture(autouse=True)
def around(lab: Lab) -> Iterator[None]:
    with clean(lab):
        yield


@pytest.fixture
def table(lab: Lab) -> Iterator[str]:
    """Put the table and a busybox on the node; afterwards nothing of it runs."""
    busybox = shutil.which("busybox")
    assert busybox, "the host has no busybox; ./bootstrap installs it"
    lab.execute(NODE, ["mkdir", "-p", FOLDER])
    lab.copy_in(NODE, Path(conformance.__file__), f"{FOLDER}/conformance.py")
    lab.copy_in(NODE, Path(busybox), f"{FOLDER}/busybox")
    lab.execute(NODE, ["chmod", "755", f"{FOLDER}/busybox"])
    yield f"{FOLDER}/conformance.py"
    lab.execute(NODE, ["sh", "-c", f"{DAEMON}; {GO_ON}; systemctl start $d.socket $d.service"], check=False)
    lab.execute(NODE, ["sh", "-c", f"virsh destroy cmd1; rm -rf {FOLDER}"], check=False)


@pytest.mark.parametrize(("storage", "kind"), list(zip(["ceph", "vms"], SHELLS, strict=True)))
def test_agent_does_as_the_table_says(lab: Lab, table: str, storage: str, kind: str) -> None:
    """The VM is Disabled, so that nobody but the table calls the agent.

    Each case is played each day, with one shell and storage; the next day with the other.
    """
    create(lab, "cmd1", storage, "--disable")
    first, step = share(len(SHELLS), list(SHELLS).index(kind))
    argv = ["python3", table, f"{first}:{step}", "cmd1", storage, FOLDER, *SHELLS[kind]]
    done = lab.execute(NODE, argv, check=False, timeout_s=PLAY_S)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok      ") == len(list(conformance.CASES)[first::step])
    assert qemu_nodes(lab, "cmd1") == ()


def monitors(lab: Lab, name: str) -> dict[str, str]:
    """Give the depth of each of the VM's monitors, by its interval."""
    cib = etree.fromstring(shell(lab, "cibadmin --query").encode())
    return {
        str(op.get("interval")): next((str(pair.get("value")) for pair in op.iter("nvpair")), "0")
        for op in cib.iterfind(
            f"configuration/resources//primitive[@id='{name}']/operations/op[@name='monitor']"
        )
    }


def ran(lab: Lab, name: str) -> set[tuple[str, str]]:
    """Name the VM's monitors that Pacemaker has run: interval in ms, exit status."""
    cib = etree.fromstring(shell(lab, "cibadmin --query").encode())
    ops = cib.iterfind(f"status//lrm_resource[@id='{name}']/lrm_rsc_op[@operation='monitor']")
    return {(str(op.get("interval")), str(op.get("rc-code"))) for op in ops}


def failures(lab: Lab, name: str) -> str:
    return " ".join(one["text"] for one in shown(lab, name)["failures"])


def pid(lab: Lab, name: str) -> str:
    return at(lab, node_of(lab, name), f"cat /run/libvirt/qemu/{name}.pid").strip()


def test_checks_come_and_go_while_the_vm_runs(lab: Lab) -> None:
    create(lab, "cmd1", "ceph", "--check", "qmp=10s", "--pacemaker-params", "force_stop=1")
    first = pid(lab, "cmd1")
    vm_mgr(lab, "set", "cmd1", "--check", "counters=10s", "--check", "guest-agent=1m")
    assert monitors(lab, "cmd1") == {"10s": "0", "10010ms": "10", "10020ms": "20", "60030ms": "30"}
    checks = shown(lab, "cmd1")["placement"]["checks"]
    assert [(one["name"], one["interval_s"]) for one in checks] == [
        ("qmp", 10),
        ("counters", 10),
        ("guest-agent", 60),
    ]
    kept = json.loads(shell(lab, "rbd image-meta get rbd/system_cmd1 _checks"))
    assert kept == {"qmp": "10", "counters": "10", "guest-agent": "60"}
    wanted = {("10000", "0"), ("10010", "0"), ("10020", "0"), ("60030", "0")}
    wait_until(lambda: wanted <= ran(lab, "cmd1"), what="every monitor to have run", timeout_s=180)
    vm_mgr(lab, "set", "cmd1", "--no-check", "qmp", "--no-check", "counters", "--no-check", "guest-agent")
    assert monitors(lab, "cmd1") == {"10s": "0"}
    assert pid(lab, "cmd1") == first, "the VM was restarted for a check"
    assert failures(lab, "cmd1") == ""


@pytest.mark.turns
@pytest.mark.parametrize("check", ["qmp", "counters"])
def test_half_dead_qemu_is_found_and_recovered(lab: Lab, check: str) -> None:
    """The monitor of depth 0 sees a process and is content; the check's third miss recovers the VM."""
    create(lab, "cmd1", "vms", "--check", f"{check}=10s", "--pacemaker-params", "force_stop=1")
    first, node = pid(lab, "cmd1"), node_of(lab, "cmd1")
    level = {"qmp": "10010", "counters": "10020"}[check]
    wait_until(lambda: (level, "0") in ran(lab, "cmd1"), what="the check to have run", timeout_s=180)
    at(lab, node, f"kill -STOP {first}")
    try:
        wait_until(lambda: f"check {check}" in failures(lab, "cmd1"), what="the failure", timeout_s=120)
        assert "miss 3 of 3" in failures(lab, "cmd1")

        def recovered() -> bool:
            seen = shown(lab, "cmd1")
            return (
                seen["state"] == "Started" and len(qemu_nodes(lab, "cmd1")) == 1 and pid(lab, "cmd1") != first
            )

        wait_until(recovered, what="the VM to run again", timeout_s=120)
    finally:
        at(lab, node, f"kill -KILL {first} 2>/dev/null || true")
        shell(lab, "crm_resource --cleanup --resource cmd1 || true")


def test_pause_and_hanging_libvirt_fail_no_check(lab: Lab) -> None:
    checks = ("--check", "qmp=10s", "counters=10s", "guest-agent=10s")
    create(lab, "cmd1", "vms", *checks, "--pacemaker-params", "force_stop=1")
    first, node = pid(lab, "cmd1"), node_of(lab, "cmd1")
    try:
        vm_mgr(lab, "pause", "cmd1")
        at(lab, node, "sleep 45")
        vm_mgr(lab, "resume", "cmd1")
        at(lab, node, f"{DAEMON}; {HALT}; sleep 60")
    finally:
        at(lab, node, f"{DAEMON}; {GO_ON}")
    assert pid(lab, "cmd1") == first
    assert failures(lab, "cmd1") == ""
    told = at(lab, node, "journalctl -b --since=-120s -t vm-mgr-agent | grep -c 'nothing is known' || true")
    assert int(told) > 0, "nobody was told that the checks know nothing"


def test_vm_that_writes_to_an_overlay_is_kept_until_it_is_committed(lab: Lab) -> None:
    """Commands refuse, and so does each start after QEMU has died: the stored disk is not the newest."""
    create(lab, "cmd1", "vms", "--pacemaker-params", "force_stop=1")
    node = node_of(lab, "cmd1")
    overlay, note = "/tmp/cmd1.overlay", "_vm_mgr_writes_elsewhere /srv/vms/cmd1/metadata.json"
    take = f"virsh snapshot-create-as cmd1 --disk-only --no-metadata --atomic --diskspec vda,file={overlay}"
    try:
        at(lab, node, take)
        for words in (("restart", "cmd1"), ("stop", "cmd1"), ("migrate", "cmd1")):
            refused = lab.execute("n1", ["vm-mgr", *words], check=False)
            assert refused.returncode == EXIT_CODES[Kind.WRONG_STATE]
            assert overlay in refused.stderr
            assert "blockcommit cmd1 vda --active --pivot" in refused.stderr
        wait_until(lambda: at(lab, node, f"grep {note} || true"), what="the note", timeout_s=180)
        at(lab, node, "virsh blockcommit cmd1 vda --active --pivot --wait; rm " + overlay)
        wait_until(lambda: not at(lab, node, f"grep {note} || true"), what="its end", timeout_s=180)
        at(lab, node, take)
        wait_until(lambda: at(lab, node, f"grep {note} || true"), what="the note", timeout_s=180)
        at(lab, node, f"kill -KILL {pid(lab, 'cmd1')}")
        wait_until(lambda: "elsewhere" in failures(lab, "cmd1"), what="the refusal", timeout_s=180)
        wait_until(
            lambda: shown(lab, "cmd1")["state"] == "Failed", what="every node to refuse", timeout_s=180
        )
        assert qemu_nodes(lab, "cmd1") == ()
        assert lab.execute("n1", ["vm-mgr", "start", "cmd1"], check=False).returncode != 0
        at(lab, node, f"qemu-img commit {overlay}")
        vm_mgr(lab, "start", "cmd1", "--allow", "lost-writes")
        assert len(qemu_nodes(lab, "cmd1")) == 1
    finally:
        at(lab, node, f"rm -f {overlay}")
        shell(lab, "crm_resource --cleanup --resource cmd1 || true")

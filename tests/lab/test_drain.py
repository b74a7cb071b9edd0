"""All VMs of a node leave it; a VM returns to its host where it was asked to."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vm_mgr_lab.history import qemu_nodes
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until

from .guest import QUICK, at, clean, create, node_of
from .test_life import shell, vm_mgr

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

NAMES = ("cmd1", "cmd2", "cmd3")
NODE = "n2"
THERE = ("--enable-live-migration", "--preferred-host", NODE, *QUICK)


@pytest.fixture(autouse=True)
def around(lab: Lab) -> Iterator[None]:
    with clean(lab, NAMES):
        yield
        end_standby(lab)


def end_standby(lab: Lab) -> None:
    shell(lab, f"crm_standby --node {NODE} --lifetime reboot --delete")


def in_standby(lab: Lab) -> bool:
    found = shell(lab, "crm_mon -1 --output-as=xml | grep '<node name=' || true")
    return any(f'"{NODE}"' in line and 'standby="true"' in line for line in found.splitlines())


def drain(lab: Lab, *options: str, code: int = 0) -> dict[str, Any]:
    line = ["vm-mgr", "migrate", "--all-from", NODE, "--output", "json", *options]
    done = lab.execute("n1", line, check=False, timeout_s=400)
    assert done.returncode == code, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def constraints(lab: Lab) -> str:
    return shell(lab, "cibadmin -Q --scope constraints | grep vm-mgr-move- || true")


def pid(lab: Lab, name: str) -> str:
    return at(lab, node_of(lab, name), f"cat /run/libvirt/qemu/{name}.pid").strip()


def test_all_leave_alive_and_what_cannot_is_told_and_left(lab: Lab) -> None:
    create(lab, "cmd1", "ceph", *THERE)
    create(lab, "cmd2", "vms", *THERE, "--priority", "5")
    create(lab, "cmd3", "ceph", "--pinned-host", NODE, *QUICK)
    before = pid(lab, "cmd3")
    since = booted(lab, "cmd1", "cmd2")
    told = drain(lab, "--standby", code=5)
    assert {one["name"]: one["how"] for one in told["moved"]} == {"cmd1": "live", "cmd2": "live"}
    assert [one["name"] for one in told["stays"]] == ["cmd3"]
    assert (told["standby"], in_standby(lab)) == (False, False)
    for one in told["moved"]:
        assert qemu_nodes(lab, one["name"]) == (one["to"],)
        assert one["to"] != NODE
        assert "running" not in {event for _, event in arrivals(lab, one["name"], since)}
    assert (node_of(lab, "cmd3"), pid(lab, "cmd3")) == (NODE, before)
    assert constraints(lab) == ""


def test_others_are_restarted_only_if_asked_for_and_the_node_stays_empty(lab: Lab) -> None:
    create(lab, "cmd1", "ceph", "--preferred-host", NODE, *QUICK)
    before = pid(lab, "cmd1")
    assert [one["name"] for one in drain(lab, code=5)["stays"]] == ["cmd1"]
    assert pid(lab, "cmd1") == before
    foreseen = vm_mgr(lab, "migrate", "--all-from", NODE, "--restart-others", "--standby", "--dry-run")
    assert "standby" in foreseen
    assert (pid(lab, "cmd1"), in_standby(lab)) == (before, False)
    told = drain(lab, "--restart-others", "--standby")
    assert [(one["name"], one["how"]) for one in told["moved"]] == [("cmd1", "restarted")]
    assert (told["standby"], in_standby(lab)) == (True, True)
    vm_mgr(lab, "migrate", "--all-from", NODE, code=5)
    create(lab, "cmd2", "ceph", *THERE)
    assert node_of(lab, "cmd2") != NODE
    end_standby(lab)
    assert node_of(lab, "cmd1") != NODE, "it stays where it is, though the node that it prefers is back"


def arrivals(lab: Lab, name: str, since: str = "") -> list[tuple[str, str]]:
    """Tell where a VM has begun to run since a time, and whether by a start or a live migration."""
    events = json.loads(vm_mgr(lab, "events", name, "--since", "10m", "--output", "json"))["events"]
    kinds = ("running", "moved")
    return [(one["node"], one["event"]) for one in events if one["event"] in kinds and one["time"] > since]


def booted(lab: Lab, *names: str) -> str:
    """Wait until the record has the starts of VMs that were just made, and give the time."""
    began = datetime.now(UTC) - timedelta(seconds=30)
    wait_until(
        lambda: all(
            (node_of(lab, name), "running") in arrivals(lab, name, began.isoformat()) for name in names
        ),
        what="the record of the starts",
        timeout_s=180,
    )
    return datetime.now(UTC).isoformat()


@pytest.mark.turns
@pytest.mark.parametrize("signal", ["TERM", "KILL"])
def test_interruption_harms_no_vm_and_leaves_no_constraint_in_effect(lab: Lab, signal: str) -> None:
    for name in ("cmd1", "cmd2"):
        create(lab, name, "ceph", *THERE)
    since = booted(lab, "cmd1", "cmd2")
    command = shell(lab, f"vm-mgr migrate --all-from {NODE} >/dev/null 2>&1 & echo $!").strip()
    wait_until(lambda: constraints(lab) != "", what="the first move", timeout_s=180)
    shell(lab, f"kill -{signal} {command} || true")
    if signal == "TERM":
        wait_until(lambda: constraints(lab) == "", what="the end of the moves", timeout_s=180)
    wait_until(
        lambda: all(len(qemu_nodes(lab, name)) == 1 for name in ("cmd1", "cmd2")),
        what="each VM to run once",
        timeout_s=180,
    )
    told = {one["name"]: one for one in json.loads(vm_mgr(lab, "list", "--output", "json"))}
    assert {told[name]["state"] for name in ("cmd1", "cmd2")} == {"Started"}
    # After a kill nobody takes them away; each has the date after which the cluster ignores it.
    left = constraints(lab)
    assert left.count("<rsc_location") == left.count(" end=")
    assert signal == "KILL" or left == ""
    # A killed command's claims end after 30 s; the next one at a VM takes away what it left.
    drain(lab)
    for name in ("cmd1", "cmd2"):
        vm_mgr(lab, "unmigrate", name)
    assert constraints(lab) == ""
    for name in ("cmd1", "cmd2"):
        here = node_of(lab, name)
        wait_until(
            lambda name=name, here=here: (here, "moved") in arrivals(lab, name, since),  # type: ignore[misc]
            what="its arrival",
            timeout_s=180,
        )
        assert {event for _, event in arrivals(lab, name, since)} == {"moved"}, "it was restarted"


def is_settled(lab: Lab, name: str, node: str) -> bool:
    seen = json.loads(vm_mgr(lab, "status", name, "--output", "json"))
    return (seen["state"], seen["node"], seen["detail"]) == ("Started", node, "")


@pytest.mark.turns
@pytest.mark.parametrize("storage", ["ceph", "vms"])
def test_vm_returns_alive_if_asked_to_and_a_change_of_that_restarts_nothing(lab: Lab, storage: str) -> None:
    create(lab, "cmd1", storage, *THERE)
    assert node_of(lab, "cmd1") == NODE
    before = pid(lab, "cmd1")
    vm_mgr(lab, "set", "cmd1", "--failback", "return")
    assert json.loads(vm_mgr(lab, "show", "cmd1", "--output", "json"))["placement"]["failback"] == "return"
    foreseen = shell(lab, "crm_simulate --live-check --simulate").partition("Transition Summary")[2]
    assert "cmd1" not in foreseen.partition("Executing")[0], "the cluster would do something to it"
    assert (node_of(lab, "cmd1"), pid(lab, "cmd1")) == (NODE, before)
    assert "would return" in vm_mgr(lab, "migrate", "cmd1", code=5)
    told = drain(lab, "--standby")
    assert [(one["name"], one["how"]) for one in told["moved"]] == [("cmd1", "live")]
    end_standby(lab)
    wait_until(lambda: is_settled(lab, "cmd1", NODE), what="cmd1 to return", timeout_s=120)
    assert qemu_nodes(lab, "cmd1") == (NODE,)
    wait_until(lambda: arrivals(lab, "cmd1")[-1:] == [(NODE, "moved")], what="its event", timeout_s=180)
    vm_mgr(lab, "set", "cmd1", "--failback", "stay")
    vm_mgr(lab, "migrate", "cmd1")
    assert node_of(lab, "cmd1") != NODE

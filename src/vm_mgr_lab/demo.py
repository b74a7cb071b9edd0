"""The demonstration: a VM's node loses its power, and the VM comes back with every acknowledged write."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vm_mgr_lab import checkers, guest
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.history import SLOW_S, Event, History, consoles
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until

__all__ = [
    "Failover",
    "create_guest",
    "guest_files",
    "power_loss",
    "remove_guest",
    "tell",
    "told_of",
    "where_is",
]

Say = Callable[[str], None]

BACK_S = 120
SETTLE_S = 2
CREATE_S = 180


@dataclass(frozen=True, slots=True, kw_only=True)
class Failover:
    """What a power cut did to a VM; times in seconds after the cut, None for what was never seen."""

    victim: str
    survivor: str
    membership_lost_s: float | None
    fenced_s: float | None
    started_s: float | None
    writes_again_s: float | None
    last_before: str
    first_after: str
    problems: tuple[str, ...]


def guest_files(lab: Lab, node: str, say: Say, *, mac_byte: int) -> tuple[str, str]:
    """Make a guest's disk and definition and copy them onto a node; return their paths there."""
    disk = lab.paths.state / f"guest-{mac_byte}.qcow2"
    guest.guest_image(lab.paths, lab.topology.suite, disk, say)
    definition = Path(str(disk.with_suffix(".xml")))
    definition.write_text(guest.domain_xml(mac_byte=mac_byte, kvm=lab.topology.kvm))
    lab.copy_in(node, disk, f"/root/{disk.name}")
    lab.copy_in(node, definition, f"/root/{definition.name}")
    return f"/root/{disk.name}", f"/root/{definition.name}"


def create_guest(
    lab: Lab, vm: str, say: Say, *, mac_byte: int, node: str | None = None, options: tuple[str, ...] = ()
) -> None:
    """Create a VM with the lab's guest, as a user would, and wait for its first acknowledged write."""
    shell = node or lab.nodes[0].name
    for other in lab.nodes:  # what an earlier guest with this address was acknowledged is not on the new disk
        lab.execute(other.name, ["sh", "-c", f"rm -f {guest.console_log(mac_byte)}*"])
    disk, definition = guest_files(lab, shell, say, mac_byte=mac_byte)
    command = ["vm-mgr", "create", "--name", vm, "--xml", definition, "--image", disk, *options]
    say(f"on {shell}: {' '.join(command)}")
    lab.execute(shell, command, timeout_s=CREATE_S)
    wait_until(
        lambda: any(consoles(lab, mac_byte).values()), what=f"the first write of {vm}", timeout_s=BACK_S
    )


def remove_guest(lab: Lab, vm: str, *, node: str) -> None:
    """Remove a VM; one that doesn't exist is fine."""
    if vm in {
        row["name"] for row in json.loads(lab.execute(node, ["vm-mgr", "list", "--output", "json"]).stdout)
    }:
        lab.execute(node, ["vm-mgr", "remove", vm], timeout_s=CREATE_S)


def told_of(lab: Lab, vm: str, *, ask: str) -> dict[str, str]:
    """Return what `vm-mgr status` on a node says of a VM."""
    told: dict[str, str] = json.loads(lab.execute(ask, ["vm-mgr", "status", vm, "--output", "json"]).stdout)
    return told


def where_is(lab: Lab, vm: str, *, ask: str) -> tuple[str, str | None]:
    """Return a VM's state and node, as `vm-mgr status` on a node says."""
    told = told_of(lab, vm, ask=ask)
    return told["state"], told.get("node")


def power_loss(lab: Lab, vm: str, say: Say, *, mac_byte: int) -> Failover:
    """Cut the power of the node that runs the VM, and watch until the VM writes on another one."""
    state, victim = where_is(lab, vm, ask=lab.nodes[0].name)
    if victim is None:
        raise LabError(f"{vm} is {state} and runs nowhere", hint="vm-mgr-lab exec n1 -- vm-mgr list")
    with History(lab, vm, mac_byte) as history:
        wait_until(
            lambda: history.first("record", after_s=0) is not None, what=f"a write of {vm}", timeout_s=BACK_S
        )
        time.sleep(SETTLE_S)
        say(f"cutting the power of {victim}, where {vm} runs")
        cut_s = time.time()
        lab.cut_power(victim)
        wait_until(
            lambda: _is_back(history, cut_s, victim), what=f"{vm} to write on another node", timeout_s=BACK_S
        )
        time.sleep(SETTLE_S)
        return _judge(lab, vm, history, cut_s, victim, mac_byte)


def _is_back(history: History, cut_s: float, victim: str) -> bool:
    return history.first("record", after_s=cut_s, where=lambda event: event.node != victim) is not None


def _judge(lab: Lab, vm: str, history: History, cut_s: float, victim: str, mac_byte: int) -> Failover:
    def first(kind: str, where: Callable[[Event], bool]) -> Event | None:
        return history.first(kind, after_s=cut_s, where=where)

    def after_cut(event: Event | None) -> float | None:
        return None if event is None else event.time_s - cut_s

    lost = first("membership", lambda e: e.node == victim and e.detail == "offline")
    fenced = first("fenced", lambda e: e.node == victim)
    started = first("process", lambda e: e.node != victim and e.detail == "running")
    back = first("record", lambda e: e.node != victim)
    before = [e for e in history.events() if e.kind == "record" and e.node == victim]
    survivor = back.node if back else ""
    acknowledged = consoles(lab, mac_byte)  # before the disk is read: the guest goes on writing
    disk = checkers.records_on_disk(lab, vm, node=survivor)
    problems = [*checkers.lost_records(disk, acknowledged), *checkers.several_writers(disk)]
    problems += [f"{vm} ran on {' and '.join(nodes)} at once" for nodes in history.simultaneous()]
    if fenced is None or (started and fenced.time_s > started.time_s):
        problems.append(f"{vm} was started before {victim} was fenced")
    return Failover(
        victim=victim,
        survivor=survivor,
        membership_lost_s=after_cut(lost),
        fenced_s=after_cut(fenced),
        started_s=after_cut(started),
        writes_again_s=after_cut(back),
        last_before=before[-1].detail if before else "",
        first_after=back.detail if back else "",
        problems=tuple(problems),
    )


def tell(failover: Failover, vm: str) -> list[str]:
    """Return the timeline as lines for people."""

    def row(seconds: float | None, what: str) -> str:
        return f"  {seconds:6.2f} s  {what}" if seconds is not None else f"     never  {what}"

    lost = f"the others, asked {1 / SLOW_S:g} times a second, no longer count {failover.victim}"
    lines = [
        f"  {0:6.2f} s  power of {failover.victim} cut",
        row(failover.membership_lost_s, f"membership lost: {lost}"),
        row(failover.fenced_s, f"node fenced: {failover.victim} is off, says its BMC (IPMI)"),
        row(failover.started_s, f"VM started: QEMU runs on {failover.survivor}"),
        row(failover.writes_again_s, "guest writes again: its first acknowledged record"),
        "",
        f"  last record acknowledged before: {_record(failover.last_before)}",
        f"  first record acknowledged after: {_record(failover.first_after)}",
    ]
    if failover.problems:
        return [*lines, "", *(f"  PROBLEM: {problem}" for problem in failover.problems[:10])]
    return [*lines, "", f"  every acknowledged record of {vm} is on its disk, and it never ran on two nodes"]


def _record(detail: str) -> str:
    boot, _, seq = detail.partition(" ")
    return f"number {seq} (boot {boot})" if seq else "none"

"""What must hold after every round; each audit returns the problems it found, in words."""

import re
import time
from collections.abc import Mapping, Sequence
from itertools import combinations

from vm_mgr_lab.campaign.activity import Sighting, ran_twice
from vm_mgr_lab.campaign.look import ClusterLook, NodeLook
from vm_mgr_lab.campaign.model import Core
from vm_mgr_lab.campaign.watch import Watch
from vm_mgr_lab.history import Event

__all__ = ["agreement", "never_two", "nothing_orphaned", "quiet_journals"]

SAME_S = 1.5  # what happened within this time of a cut is of the cut
# Programs of ours that stay: who keeps events, and who holds a lock in a directory for others to try.
LASTING = ("vm_mgr.alert", "vm_mgr.ocf.disk_locks")
OLD_S = 150  # a program of ours that runs longer than this after everything was healed is forgotten
TIMER_S = 600  # a move that was killed is looked after for so long
# In the journals: what no fault may provoke.
FORBIDDEN = re.compile(
    r"(?<!mgr\[py\] )Traceback \(most recent call last\)"
    r"|segfault|SIGSEGV"
    r"|vm-mgr: error: internal|a defect of vm-mgr"
    r"|Resource \S+ is active on 2 nodes"
    r"|is unmanaged because"
)
# Ceph's own programs say so when their monitors are gone.
NOT_OURS = re.compile(r"ceph-(mgr|mon|osd|crash)\[|libvirt_qemu|fence_ipmilan|ansible")
CONSTRAINT = re.compile(
    r"vm-mgr-(observers|fence-.*|dir-.*|node-hypervisors|(needs|after|fits|uplink|pin|pinned|preferred|home)-.*)$"
)
ELAPSED = re.compile(r"\s*(\d+)\s+(.*)")


def never_two(
    sightings: Sequence[Sighting], cuts: Sequence[tuple[float, str]], fenced: Sequence[Event]
) -> list[str]:
    """Check that no VM ran twice, was started beside another, or before its lost node was fenced."""
    problems = ran_twice(sightings)
    for old, new in combinations(sorted(sightings, key=lambda one: one.first_s), 2):
        if old.vm != new.vm or new.incoming or old.node == new.node:
            continue
        if old.last_s > new.first_s + 1.0:
            problems.append(f"{new.vm} was started on {new.node} while it had a QEMU on {old.node}")
        problems += [
            f"{new.vm} was started on {new.node} before {node}, which lost its power under it, was fenced"
            for at_s, node in cuts
            if node == old.node and abs(old.last_s - at_s) < SAME_S and new.first_s > at_s
            if not any(e.node == node and at_s - SAME_S <= e.time_s <= new.first_s for e in fenced)
        ]
    return sorted(set(problems))


def agreement(look: ClusterLook, nodes: Sequence[NodeLook], core: Sequence[Core], watch: Watch) -> list[str]:
    """Let vm-mgr, Pacemaker, libvirt and the host's process table say where each VM runs."""
    problems = []
    rows = {row["name"]: row for row in look.rows}
    for vm in (one.name for one in core):
        if vm not in rows:
            problems.append(f"{vm} is gone from vm-mgr list")
            continue
        here = [rows[vm]["node"]] if rows[vm]["state"] == "Started" else []
        resource = next((r for r in look.mon.iter("resource") if r.get("id") == vm), None)
        pacemaker = [n.get("name") for n in resource.iterfind("node")] if resource is not None else []
        libvirt = [one.node for one in nodes if vm in one.domains]
        told = {"vm-mgr": here, "Pacemaker": pacemaker, "libvirt": libvirt, "QEMU": watch.nodes_of(vm)}
        if any(one != here for one in told.values()):
            problems.append(f"{vm}: where it runs is not agreed on: {told}")
    strangers = sorted({d for one in nodes for d in one.domains if d} - set(rows))
    problems += [f"libvirt keeps domains of no VM: {strangers}"] if strangers else []
    return problems


def nothing_orphaned(look: ClusterLook, nodes: Sequence[NodeLook], folders: Sequence[str]) -> list[str]:
    """Find images, groups, marks, resources, constraints, timers, files and programs that belong to no VM."""
    vms = {row["name"] for row in look.rows}
    found: dict[str, list[str]] = {
        "images": [name for name in look.images if _vm_of_image(name) not in vms],
        "groups": [name for name in look.groups if name not in vms],
        "folders": [name for name in folders if name not in vms],
        "marks in the ledger": look.ledger,
        "resources": [p for p in _primitives(look) if not p.startswith("vm-mgr-") and p not in vms],
        "constraints": [str(c) for c in _constraints(look, vms)],
        "unfinished": [f"{r['name']}: {r['detail']}" for r in look.rows if "unfinished" in r["detail"]],
    }
    now_s = time.time()
    for one in nodes:
        found[f"timers and services on {one.node}"] = [u for u in one.units if _is_late(u, now_s)]
        found[f"programs on {one.node}"] = [p for p in one.processes if _is_old(p)]
        found[f"temporary files on {one.node}"] = [f for f in one.temporary if f]
    return [f"left over: {what}: {names[:8]}" for what, names in found.items() if names]


def quiet_journals(nodes: Sequence[NodeLook], secrets: Mapping[str, bytes]) -> list[str]:
    """Search the journals of a round for what no fault may provoke, and for secrets."""
    problems = []
    for one in nodes:
        problems += [
            f"{name} stands in the journal of {one.node}"
            for name, s in secrets.items()
            if s.decode() in one.journal
        ]
        lines = [
            line[:300]
            for line in one.journal.splitlines()
            if FORBIDDEN.search(line) and not NOT_OURS.search(line)
        ]
        problems += [f"in the journal of {one.node}: {line}" for line in lines[:3]]
    return problems


def _vm_of_image(name: str) -> str:
    if name.startswith("system_"):
        return name.removeprefix("system_")
    return re.sub(r"^data_(.*?)(_\d+)?$", r"\1", name)


def _primitives(look: ClusterLook) -> list[str]:
    return [str(p.get("id")) for p in look.cib.iterfind("configuration/resources/primitive")]


def _constraints(look: ClusterLook, vms: set[str]) -> list[str]:
    """Name constraints of moves, and those that name a VM that is not in the cluster."""
    resources = {
        *_primitives(look),
        *(str(r.get("id")) for r in look.cib.iterfind("configuration/resources/*")),
    }
    strange = []
    for one in look.cib.iterfind("configuration/constraints/*"):
        named = {one.get(key) for key in ("rsc", "with-rsc", "first", "then")} - {None}
        known = all(name in resources for name in named)
        if one.find(".//date_expression") is not None:  # of a move; it has an end
            continue
        if not CONSTRAINT.match(str(one.get("id"))) or not known:
            strange.append(str(one.get("id")))
    return [one for one in strange if one.startswith(("vm-mgr-", "cli-")) or any(vm in one for vm in vms)]


def _is_late(unit: str, now_s: float) -> bool:
    """Tell whether a timer has stayed longer than what it looks after can take."""
    # Its name says when it began, in milliseconds.
    began = re.search(r"\.\.(\d{13})-", unit)
    return bool(unit) and (began is None or now_s - int(began[1]) / 1000 > TIMER_S)


def _is_old(line: str) -> bool:
    found = ELAPSED.match(line)
    return found is not None and int(found[1]) > OLD_S and not any(one in line for one in LASTING)

"""Edit what the CIB has for moves: the constraint of one, and what becomes of a VM whose move fails."""

import time
from collections.abc import Mapping

from lxml import etree

from vm_mgr.adapters.pacemaker.cib_own import own_operations
from vm_mgr.adapters.pacemaker.cib_resolve import agent, operations
from vm_mgr.adapters.pacemaker.cib_xml import (
    PRIMITIVE,
    detach,
    find,
    nvpair,
    nvset,
    operation,
    our_id,
    ours,
    section,
)
from vm_mgr.model.cluster import OWN_AGENT, NodeName
from vm_mgr.model.resource import disk_id
from vm_mgr.model.vm import TargetRole, VmName
from vm_mgr.ports.cluster import Move, VmResource

__all__ = [
    "HIBERNATION",
    "KEPT_S",
    "MOVE",
    "add_move",
    "add_restart",
    "block_on_failure",
    "hibernate",
    "keep_at",
    "may_be_promoted_twice",
    "sweep_moves",
]

MOVE = "vm-mgr-move-"
RESTART = "vm-mgr-restart-"
TERMS = "vm-mgr-terms-"
# The parameter OCF_RESKEY_CRM_meta_vm_mgr_move, in which Pacemaker hands the agent a single move's terms.
TERMS_KEY = "vm-mgr-move"
# The parameter OCF_RESKEY_CRM_meta_vm_mgr_hibernation of the operation stop. No attribute of the resource:
# those that the agent gets restart the VM when they change, and the others it does not get.
HIBERNATION = "vm-mgr-hibernation"


# Attributes of a disk's clone, by which it may be promoted at two nodes for the time of a move.
BOTH = "..both"
# For so long a VM is kept at its node when that ends. Else Pacemaker could demote the disk under it: of two
# that are promoted equally well it takes the node that comes first.
KEPT_S = 60


def add_move(cib: etree._Element, move: Move, expires_utc: float) -> None:
    """Add the temporary constraint of a move, with a date after which Pacemaker ignores it.

    The options go to the agent as a meta attribute of the operation, which ends at the same date.
    """
    name = move.name
    sweep_moves(cib, name, 0)  # what other VMs have is none of ours: they may be on their way
    if move.both_promoted:
        for clone in _promotable(cib, name):
            ident = f"{clone.get('id')}{BOTH}"
            _nvset_until(clone, ident, {"promoted-max": "2"}, expires_utc).set("score", "INFINITY")
        expires_utc += KEPT_S
    if move.to:
        _locate(cib, name, "", "INFINITY", [move.to], expires_utc)
    else:
        away = [move.source, *sorted(move.avoid - {move.source})]
        _locate(cib, name, "", "-INFINITY", away, expires_utc)
    if move.chosen and not move.to:
        _locate(cib, name, "chosen", "INFINITY", [move.chosen], expires_utc)
    for primitive in find(cib, PRIMITIVE, name=name):
        # Other agents keep their ways: nobody would clear the failure of a move that holds their VM.
        if agent(primitive) == OWN_AGENT:
            migrate_to = _move_operation(primitive, name)
            if move.options:
                _nvset_until(migrate_to, our_id("terms", name), {TERMS_KEY: move.options}, expires_utc)


def _locate(
    cib: etree._Element, name: VmName, part: str, score: str, nodes: list[NodeName], expires_utc: float
) -> None:
    """Give nodes a score, until a date. Pacemaker 3 knows only one rule at a constraint, but rules in it.

    Only the outer rule's score counts; older schemas want one at each.
    """

    def ident(what: str) -> str:
        return our_id("move", name, "-".join(filter(None, (part, what))))

    whole = {"id": our_id("move", name, part), "rsc": name}
    location = etree.SubElement(section(cib, "constraints"), "rsc_location", whole)
    outer = etree.SubElement(location, "rule", {"id": ident("rule"), "score": score, "boolean-op": "and"})
    rule = outer
    if len(nodes) > 1:
        rule = etree.SubElement(outer, "rule", {"id": ident("nodes"), "score": score, "boolean-op": "or"})
    for number, node in enumerate(nodes):
        place = {"attribute": "#uname", "operation": "eq", "value": node}
        etree.SubElement(rule, "expression", {"id": ident(f"node{number}" if number else "node"), **place})
    _until(outer, ident("end"), expires_utc)


def add_restart(cib: etree._Element, name: VmName, expires_utc: float) -> None:
    """Have a VM that a failed live migration holds stopped and started, until a date."""
    for move in find(cib, f"{PRIMITIVE}/operations/op[@name='migrate_to']", name=name):
        for older in find(move, "meta_attributes[starts-with(@id, $name)]", name=RESTART):
            detach(older)
        added = _nvset_until(move, our_id("restart", name), {"on-fail": "restart"}, expires_utc)
        added.set("score", "INFINITY")  # above what holds it


def sweep_moves(cib: etree._Element, name: VmName, now_utc: float) -> None:
    """Remove what moves of the name have added, and what those of other names have that has expired."""
    now = _date(now_utc)
    temporary = "configuration/resources//meta_attributes[starts-with(@id, $name)]"
    found = [*find(cib, temporary, name=TERMS), *find(cib, temporary, name=RESTART)]
    for element in [*ours(section(cib, "constraints"), MOVE), *found]:
        expired = any(rule.get("end", now) < now for rule in find(element, ".//date_expression"))
        owner = element.get("rsc") or next(element.iterancestors("primitive")).get("id")
        if expired or owner == name:
            detach(element)
    for clone in _promotable(cib, name):
        for element in _both(clone):
            detach(element)


def may_be_promoted_twice(cib: etree._Element, name: VmName) -> bool:
    """Tell whether a move lets disks of a VM be promoted at two nodes."""
    return any(_both(clone) for clone in _promotable(cib, name))


def keep_at(cib: etree._Element, name: VmName, node: NodeName, expires_utc: float) -> None:
    """Let disks be promoted at one node again: where the VM runs, which it may not leave meanwhile."""
    sweep_moves(cib, name, 0)
    _locate(cib, name, "", "INFINITY", [node], expires_utc)


def _promotable(cib: etree._Element, name: VmName) -> list[etree._Element]:
    path = "configuration/resources/clone[starts-with(@id, $name)]"
    wanted = "meta_attributes/nvpair[@name='promotable' and @value='true']"
    return [one for one in find(cib, path, name=disk_id(name, "")) if find(one, wanted)]


def _both(clone: etree._Element) -> list[etree._Element]:
    return find(clone, "meta_attributes[@id=$name]", name=f"{clone.get('id')}{BOTH}")


def block_on_failure(move: etree._Element, name: str) -> None:
    """Let a failed migrate_to leave the VM where it runs, unless somebody wants it otherwise.

    An attribute of the operation itself would stand above add_restart.
    """
    if "on-fail" not in move.attrib and not find(move, "meta_attributes[not(rule)]/nvpair[@name='on-fail']"):
        nvset(move, "meta_attributes", our_id("hold", name), {"on-fail": "block"})


def hibernate(stop: etree._Element, name: str, seconds: int) -> None:
    """Have a stop that is part of a move save the guest's memory, for which it has so long."""
    nvset(stop, "meta_attributes", our_id("hibernation", name), {HIBERNATION: str(seconds)})


def _move_operation(primitive: etree._Element, name: VmName) -> etree._Element:
    """Give the operation migrate_to, whose failure leaves the VM where it runs (docs/design/0010)."""
    found = find(primitive, "operations/op[@name='migrate_to']")
    if not found:
        inherited = [op for op in operations(primitive) if op.get("name") == "migrate_to"]
        timeout_s = VmResource(name, TargetRole.STARTED).migrate_to_timeout_s
        added = operation(
            own_operations(primitive), our_id("op", name, "migrate_to"), "migrate_to", "0s", timeout_s
        )
        for key, text in (pair for op in inherited for pair in op.items() if pair[0] != "id"):
            added.set(key, text)
        found = [added]
    block_on_failure(found[0], name)
    return found[0]


def _nvset_until(
    parent: etree._Element, ident: str, pairs: Mapping[str, str], expires_utc: float
) -> etree._Element:
    """Add attributes that Pacemaker ignores after a date."""
    attributes = etree.SubElement(parent, "meta_attributes", id=ident)
    _until(
        etree.SubElement(attributes, "rule", id=f"{ident}..rule", score="INFINITY"),
        f"{ident}..end",
        expires_utc,
    )
    for key, value in pairs.items():
        nvpair(attributes, ident, key, value)
    return attributes


def _until(rule: etree._Element, ident: str, expires_utc: float) -> None:
    etree.SubElement(rule, "date_expression", id=ident, operation="lt", end=_date(expires_utc))


def _date(utc: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(utc))

"""Edit the CIB's XML.

Ids that we make are vm-mgr-KIND-NAME and vm-mgr-KIND-NAME..REST: no kind has a dash, no name has "..". What
is ours is found by the name that its attributes refer to and the kind in its id, never by taking ids apart.
"""

import re
import time
from collections.abc import Mapping
from typing import Any

from lxml import etree

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.vm import TargetRole, VmName
from vm_mgr.ports.cluster import VmResource

__all__ = [
    "add_move",
    "add_restart",
    "add_vm",
    "bump_version",
    "parse_cib",
    "remove_constraints",
    "remove_vm",
    "rename_vm",
    "set_target_role",
    "sweep_moves",
    "update_vm",
]

COLOCATION = "vm-mgr-colocation-"
MOVE = "vm-mgr-move-"
RESTART = "vm-mgr-restart-"
TERMS = "vm-mgr-terms-"
KINDS = (
    *("meta", "params", "utilization", "op", "pin", "prefer", "needs", "after", "move"),
    *("hold", "restart", "terms"),
)
# The parameter OCF_RESKEY_CRM_meta_vm_mgr_move, in which Pacemaker hands the agent a single move's terms.
TERMS_KEY = "vm-mgr-move"
PLACEMENT = ("vm-mgr-pin-", "vm-mgr-prefer-", "vm-mgr-needs-", "vm-mgr-after-", COLOCATION)
AGENT = {"class": "ocf", "provider": "vm-mgr", "type": "VirtualDomain"}
_PRIMITIVE = "configuration/resources//primitive[@id=$name]"
_KINDS = "self::primitive or self::group or self::clone or self::master or self::bundle"
_RESOURCE = f"configuration/resources//*[@id=$name][{_KINDS}]"
_SETS = ("rsc_location", "rsc_colocation", "rsc_order", "rsc_ticket")
_REFERENCE = ".//resource_ref[@id=$name] | ../tags//obj_ref[@id=$name]"
_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_blank_text=True)


def parse_cib(raw: str) -> etree._Element:
    """Parse a CIB."""
    return etree.fromstring(raw.encode(), _PARSER)


def bump_version(cib: etree._Element) -> None:
    """Give a changed CIB the next version, without which Pacemaker takes a patch for an old one."""
    cib.set("epoch", str(int(cib.get("epoch", "0")) + 1))
    cib.set("num_updates", "0")


def add_vm(cib: etree._Element, vm: VmResource) -> None:
    """Add the primitive and its placement, after removing what the name had."""
    _refuse_other(cib, vm.name)
    remove_vm(cib, vm.name)
    primitive = etree.SubElement(_section(cib, "resources"), "primitive", {"id": vm.name, **AGENT})
    if vm.params:
        _nvset(primitive, "instance_attributes", _id("params", vm.name), vm.params)
    _describe(cib, primitive, vm)


def update_vm(cib: etree._Element, vm: VmResource) -> None:
    """Replace what may change while the VM runs: meta attributes, utilization, timeouts, placement."""
    for primitive in _find(cib, _PRIMITIVE, name=vm.name):
        for role in _find(primitive, "meta_attributes/nvpair[@name='target-role']")[:1]:
            vm = vm._replace(target_role=TargetRole(role.get("value", "Started").capitalize()))
        for tag in ("meta_attributes", "utilization", "operations"):
            for element in primitive.findall(tag):
                primitive.remove(element)
        for constraint in _find(_section(cib, "constraints"), "*[@rsc=$name or @then=$name]", name=vm.name):
            if str(constraint.get("id", "")).startswith(PLACEMENT):
                _detach(constraint)
        _describe(cib, primitive, vm)


def _describe(cib: etree._Element, primitive: etree._Element, vm: VmResource) -> None:
    meta = {
        "allow-migrate": "true" if vm.live_migration else "false",
        "priority": str(vm.priority),
        **vm.meta,
        "target-role": vm.target_role.value,
        **{COLOCATION + other: score for other, score in vm.colocations.items()},
    }
    _nvset(primitive, "meta_attributes", _id("meta", vm.name), meta)
    if vm.utilization:
        _nvset(primitive, "utilization", _id("utilization", vm.name), vm.utilization)
    _operations(primitive, vm)
    constraints = _section(cib, "constraints")
    if vm.pinned_host:
        pin = _location(constraints, _id("pin", vm.name), vm.name, vm.pinned_host, "INFINITY")
        pin.set("resource-discovery", "exclusive")
    elif vm.preferred_host:
        _location(constraints, _id("prefer", vm.name), vm.name, vm.preferred_host, "50")
    if vm.needs:
        _need(constraints, vm.name, vm.needs)
    _colocate(cib)


def _need(constraints: etree._Element, name: VmName, resource: str) -> None:
    """Let a VM run only where a resource runs, and after it: what mounts and guards its disks."""
    beside = {"id": _id("needs", name), "rsc": name, "with-rsc": resource, "score": "INFINITY"}
    etree.SubElement(constraints, "rsc_colocation", beside)
    order = {"id": _id("after", name), "first": resource, "then": name, "kind": "Mandatory"}
    etree.SubElement(constraints, "rsc_order", order)


def _colocate(cib: etree._Element) -> None:
    """Write the colocations whose both ends are there.

    A constraint can't name a resource that is absent, so each VM also keeps its own as meta attributes, which
    Pacemaker ignores: when the other end comes back, so does the constraint.
    """
    constraints = _section(cib, "constraints")
    kept = "configuration/resources//primitive/meta_attributes/nvpair[starts-with(@name, $name)]"
    for pair in _find(cib, kept, name=COLOCATION):
        attributes = pair.getparent()
        primitive = None if attributes is None else attributes.getparent()
        name = "" if primitive is None else str(primitive.get("id"))
        other = str(pair.get("name")).removeprefix(COLOCATION)
        present = [(one.get("rsc"), one.get("with-rsc")) for one in _ours(constraints, COLOCATION)]
        if other != name and (name, other) not in present and _find(cib, _RESOURCE, name=other):
            ends = {"id": _id("colocation", name, other), "rsc": name, "with-rsc": other}
            etree.SubElement(constraints, "rsc_colocation", {**ends, "score": str(pair.get("value"))})


def remove_vm(cib: etree._Element, name: VmName) -> None:
    """Remove the primitive and everything that refers to it."""
    constraints = _section(cib, "constraints")
    named = "*[@rsc=$name or @with-rsc=$name or @first=$name or @then=$name]"
    for element in _find(constraints, named, name=name):
        _detach(element)
    for reference in _find(constraints, _REFERENCE, name=name):
        _detach_with_empty_parents(reference, ("resource_set", *_SETS, "tag", "tags"))
    for primitive in _find(cib, _PRIMITIVE, name=name):
        _detach_with_empty_parents(primitive, ("group", "clone"))


def remove_constraints(constraints: list[etree._Element]) -> None:
    """Take them out of their CIB."""
    for element in constraints:
        _detach(element)


def rename_vm(cib: etree._Element, name: VmName, new: VmName) -> None:
    """Rename the primitive, what refers to it, and the ids that we made from its name."""
    constraints = _section(cib, "constraints")
    for primitive in _find(cib, _PRIMITIVE, name=name):
        _refuse_other(cib, new)
        primitive.set("id", new)
        _rename_ids(primitive, name, new)
    for attribute in ("rsc", "with-rsc", "first", "then"):
        for element in _find(constraints, f"*[@{attribute}=$name]", name=name):
            element.set(attribute, new)
            _rename_ids(element, name, new)
    for element in _find(constraints, "rsc_colocation[@rsc=$name or @with-rsc=$name]", name=new):
        if str(element.get("id")).startswith(COLOCATION):
            element.set("id", _id("colocation", str(element.get("rsc")), str(element.get("with-rsc"))))
    for reference in _find(constraints, _REFERENCE, name=name):
        reference.set("id", new)
    for pair in _find(cib, "configuration/resources//nvpair[@name=$name]", name=COLOCATION + name):
        _rename_wish(pair, new)
    _colocate(cib)


def _refuse_other(cib: etree._Element, name: VmName) -> None:
    """Refuse an id that something else has, for example a resource inside a group, which is no VM."""
    for element in _find(
        cib, "configuration//*[@id=$name][not(self::resource_ref or self::obj_ref)]", name=name
    ):
        if element.tag != "primitive" or element.get("type") != AGENT["type"]:
            message = f"the cluster's configuration has a {element.tag} {name} already"
            raise VmMgrError(Kind.EXISTS, message, hint="choose another name for the VM")


def _rename_ids(top: etree._Element, name: VmName, new: VmName) -> None:
    for element in top.iter(etree.Element):
        for kind in KINDS:
            was, ident = _id(kind, name), str(element.get("id", ""))
            if ident == was or ident.startswith(f"{was}.."):
                element.set("id", _id(kind, new) + ident.removeprefix(was))


def _rename_wish(pair: etree._Element, new: VmName) -> None:
    """Name the other end anew, in place of what was wished for an absent VM of this name."""
    attributes = pair.getparent()
    assert attributes is not None  # noqa: S101 - it was found below another element
    for older in _find(attributes, "nvpair[@name=$name]", name=COLOCATION + new):
        _detach(older)
    owner = str(attributes.get("id", ""))
    pair.set("name", COLOCATION + new)
    pair.set("id", _pair_id(owner, COLOCATION + new))


def set_target_role(cib: etree._Element, name: VmName, role: TargetRole) -> None:
    """Set the meta attribute target-role, wherever an existing cluster keeps it."""
    for primitive in _find(cib, _PRIMITIVE, name=name):
        present = _find(primitive, "meta_attributes/nvpair[@name='target-role']")
        attributes = primitive.find("meta_attributes")
        if present:
            present[0].set("value", role.value)
        elif attributes is not None:
            _nvpair(attributes, _id("meta", name), "target-role", role.value)
        else:
            _nvset(primitive, "meta_attributes", _id("meta", name), {"target-role": role.value})


def add_move(
    cib: etree._Element,
    name: VmName,
    *,
    to: NodeName | None,
    away_from: NodeName,
    expires_utc: float,
    terms: str = "",
) -> None:
    """Add the temporary constraint of a move, with a date after which Pacemaker ignores it.

    The terms go to the agent as a meta attribute of the operation, which ends at the same date.
    """
    sweep_moves(cib, name, expires_utc - 1)
    ident = _id("move", name)
    location = etree.SubElement(_section(cib, "constraints"), "rsc_location", id=ident, rsc=name)
    score = "INFINITY" if to else "-INFINITY"
    rule = {"id": _id("move", name, "rule"), "score": score, "boolean-op": "and"}
    element = etree.SubElement(location, "rule", rule)
    place = {"attribute": "#uname", "operation": "eq", "value": to or away_from}
    etree.SubElement(element, "expression", {"id": _id("move", name, "node"), **place})
    _until(element, _id("move", name, "end"), expires_utc)
    for primitive in _find(cib, _PRIMITIVE, name=name):
        if primitive.get("provider") == AGENT["provider"]:
            move = _move_operation(primitive, name)
            if terms:
                _nvset_until(move, _id("terms", name), {TERMS_KEY: terms}, expires_utc)


def add_restart(cib: etree._Element, name: VmName, expires_utc: float) -> None:
    """Have a VM that a failed live migration holds stopped and started, until a date."""
    for move in _find(cib, f"{_PRIMITIVE}/operations/op[@name='migrate_to']", name=name):
        for older in _find(move, "meta_attributes[starts-with(@id, $name)]", name=RESTART):
            _detach(older)
        added = _nvset_until(move, _id("restart", name), {"on-fail": "restart"}, expires_utc)
        added.set("score", "INFINITY")  # above what holds it


def sweep_moves(cib: etree._Element, name: VmName, now_utc: float) -> None:
    """Remove what moves of the name have added, and what those of other names have that has expired."""
    now = _date(now_utc)
    temporary = "configuration/resources//meta_attributes[starts-with(@id, $name)]"
    found = [*_find(cib, temporary, name=TERMS), *_find(cib, temporary, name=RESTART)]
    for element in [*_ours(_section(cib, "constraints"), MOVE), *found]:
        expired = any(rule.get("end", now) < now for rule in _find(element, ".//date_expression"))
        owner = element.get("rsc") or next(element.iterancestors("primitive")).get("id")
        if expired or owner == name:
            _detach(element)


def _move_operation(primitive: etree._Element, name: VmName) -> etree._Element:
    """Give the operation migrate_to, whose failure leaves the VM where it runs (docs/design/0009)."""
    found = _find(primitive, "operations/op[@name='migrate_to']")
    operations = primitive.find("operations")
    if not found:
        if operations is None:
            operations = etree.SubElement(primitive, "operations")
        _operation(
            operations, name, "migrate_to", 0, VmResource(name, TargetRole.STARTED).migrate_to_timeout_s
        )
        return operations[-1]
    _hold(found[0], name)
    return found[0]


def _hold(move: etree._Element, name: str) -> None:
    """Let a failed migrate_to leave the VM where it runs, unless somebody wants it otherwise.

    An attribute of the operation itself would stand above add_restart.
    """
    if "on-fail" not in move.attrib and not _find(move, "meta_attributes[not(rule)]/nvpair[@name='on-fail']"):
        _nvset(move, "meta_attributes", _id("hold", name), {"on-fail": "block"})


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
        _nvpair(attributes, ident, key, value)
    return attributes


def _until(rule: etree._Element, ident: str, expires_utc: float) -> None:
    etree.SubElement(rule, "date_expression", id=ident, operation="lt", end=_date(expires_utc))


def _operations(primitive: etree._Element, vm: VmResource) -> None:
    operations = etree.SubElement(primitive, "operations")
    timeouts = {
        "start": vm.start_timeout_s,
        "stop": vm.stop_timeout_s,
        "migrate_to": vm.migrate_to_timeout_s,
        "migrate_from": vm.migrate_from_timeout_s,
    }
    for action, timeout_s in timeouts.items():
        _operation(operations, vm.name, action, 0, timeout_s)
    _operation(operations, vm.name, "monitor", vm.monitor_interval_s, vm.monitor_timeout_s)


def _operation(parent: etree._Element, name: str, action: str, interval_s: int, timeout_s: int) -> None:
    attributes = {
        "id": _id("op", name, action),
        "name": action,
        "interval": f"{interval_s}s",
        "timeout": f"{timeout_s}s",
    }
    operation = etree.SubElement(parent, "op", attributes)
    if action == "migrate_to":
        _hold(operation, name)


def _location(parent: etree._Element, ident: str, name: str, node: str, score: str) -> etree._Element:
    return etree.SubElement(parent, "rsc_location", id=ident, rsc=name, node=node, score=score)


def _nvset(parent: etree._Element, tag: str, ident: str, pairs: Mapping[str, str]) -> None:
    attributes = etree.SubElement(parent, tag, id=ident)
    for key, value in pairs.items():
        _nvpair(attributes, ident, key, value)


def _nvpair(parent: etree._Element, ident: str, key: str, value: str) -> None:
    etree.SubElement(parent, "nvpair", id=_pair_id(ident, key), name=key, value=value)


def _id(kind: str, name: str, rest: str = "") -> str:
    return f"vm-mgr-{kind}-{name}" + (f"..{rest}" if rest else "")


def _pair_id(ident: str, key: str) -> str:
    """Put a key into an id, in which not every character may stand: others become .23. for #, one for one."""
    return f"{ident}.." + re.sub(r"[^A-Za-z0-9_-]", lambda found: f".{ord(found[0]):x}.", key)


def _ours(constraints: etree._Element, prefix: str) -> list[etree._Element]:
    return [element for element in constraints if str(element.get("id", "")).startswith(prefix)]


def _section(cib: etree._Element, tag: str) -> etree._Element:
    configuration = cib.find("configuration")
    assert configuration is not None  # noqa: S101 - every CIB has one
    section = configuration.find(tag)
    return etree.SubElement(configuration, tag) if section is None else section


def _find(element: etree._Element, path: str, name: str = "") -> list[etree._Element]:
    """Evaluate an XPath that gives elements; $name is its only variable."""
    found: Any = element.xpath(path, name=name)
    return list(found)


def _detach(element: etree._Element) -> etree._Element | None:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)
    return parent


def _detach_with_empty_parents(element: etree._Element, tags: tuple[str, ...]) -> None:
    """Remove an element, then the parents of these tags that have no element of that kind left."""
    kind = element.tag
    parent = _detach(element)
    while parent is not None and parent.tag in tags and parent.find(kind) is None:
        kind = parent.tag
        parent = _detach(parent)


def _date(utc: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(utc))

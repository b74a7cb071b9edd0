"""Write the attributes and operations of a primitive that are ours, and leave all others as they are.

A value goes where it always holds and is this primitive's alone: never into a set that has a rule, or that
stands elsewhere, or that others refer to.
"""

import copy
from collections.abc import Collection, Mapping

from lxml import etree

from vm_mgr.adapters.pacemaker.cib_resolve import local_now, meta_attributes, own_attributes
from vm_mgr.adapters.pacemaker.cib_xml import detach, find, free_id, nvpair, our_id, pair_id, referred
from vm_mgr.adapters.pacemaker.crm_mon import target_role
from vm_mgr.adapters.pacemaker.times import seconds
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import TargetRole

__all__ = [
    "LASTING",
    "has_foreign",
    "is_overruled",
    "own_operations",
    "own_pairs",
    "role_of",
    "write_operations",
    "write_pairs",
    "write_role",
]

KINDS = {"meta_attributes": "meta", "utilization": "utilization", "instance_attributes": "params"}
# What an operation has of ours; what moves put there for a time is not the VM's.
LASTING = ("vm-mgr-hold-", "vm-mgr-hibernation-", "vm-mgr-check-")


def _own_sets(primitive: etree._Element, tag: str) -> list[etree._Element]:
    """Give the sets that always hold and are this primitive's alone."""
    shared = {str(one) for one in _referred_ids(primitive)}
    return [
        one
        for one in primitive.iterchildren(tag)
        if not one.get("id-ref")
        and one.find("rule") is None
        and not shared & {str(inner.get("id")) for inner in one.iter(etree.Element)}
    ]


def _referred_ids(element: etree._Element) -> list[str]:
    """Give all ids that something in the CIB refers to by id-ref."""
    found = element.getroottree().xpath("//@id-ref")
    return [str(one) for one in found] if isinstance(found, list) else []


def own_pairs(primitive: etree._Element, tag: str) -> dict[str, str]:
    """Give the values that we have written, told by their ids."""
    begin = our_id(KINDS[tag], str(primitive.get("id")))
    return {
        str(pair.get("name")): str(pair.get("value", ""))
        for one in _own_sets(primitive, tag)
        if str(one.get("id")) == begin or str(one.get("id")).startswith(f"{begin}..")
        for pair in one.iterchildren("nvpair")
        if pair.get("id") == pair_id(str(one.get("id")), str(pair.get("name")))
    }


def has_foreign(primitive: etree._Element, tag: str, key: str) -> bool:
    """Tell whether somebody else has set this for the primitive."""
    return key in own_attributes(primitive, tag, local_now()) and key not in own_pairs(primitive, tag)


def write_pairs(primitive: etree._Element, tag: str, changes: Mapping[str, str | None]) -> None:
    """Set the values of these names, or remove them where they are None; where others overrule, on top."""
    if not changes:
        return
    sets = _own_sets(primitive, tag)
    for key, value in changes.items():
        present = [pair for pair in _pairs(sets, [key]) if not pair.get("id-ref")]
        for pair in present:
            if value is None:
                detach(pair)
            else:
                pair.set("value", value)
        if value is not None and not present:
            home = _home(primitive, tag, sets)
            nvpair(home, str(home.get("id")), key, value)
    _put_on_top(primitive, tag, sets, {key: value for key, value in changes.items() if value is not None})
    for one in sets:
        if len(one) == 0 and str(one.get("id", "")).startswith("vm-mgr-"):
            detach(one)


def _put_on_top(
    primitive: etree._Element, tag: str, sets: list[etree._Element], wanted: Mapping[str, str]
) -> None:
    """Move what a later set of others hides into a set behind it."""
    seen = own_attributes(primitive, tag, local_now())
    hidden = {key: value for key, value in wanted.items() if seen.get(key) != value}
    if hidden:
        for pair in _pairs(sets, hidden):
            detach(pair)
        sets.append(_new_set(primitive, tag))
        for key, value in hidden.items():
            nvpair(sets[-1], str(sets[-1].get("id")), key, value)


def write_role(primitive: etree._Element, role: TargetRole) -> None:
    """Set target-role; raises WRONG_STATE where a set that is not the VM's own overrules it."""
    write_pairs(primitive, "meta_attributes", {"target-role": role.value})
    if role_of(primitive) is not role:
        name = primitive.get("id")
        sets = [referred(one) for one in primitive.iterchildren("meta_attributes")]
        keeper = next((str(one.get("id")) for one in sets if find(one, "nvpair[@name='target-role']")), "")
        message = f"the set {keeper} keeps the role of {name}, and goes before what vm-mgr may write"
        hint = f"change it there: crm configure edit {name}; or: pcs resource config {name}"
        raise VmMgrError(Kind.WRONG_STATE, message, hint=hint)


def role_of(primitive: etree._Element) -> TargetRole:
    """Give the role that is wanted of it, by whatever set says so."""
    found = meta_attributes(primitive, local_now()).get("target-role", "")
    return TargetRole(target_role(found) or "Started")


def write_operations(
    primitive: etree._Element, wanted: etree._Element, before: etree._Element | None
) -> None:
    """Bring operations from what we wrote before to what is wanted; with None, all that are ours."""
    old = {str(op.get("id")): op for op in before} if before is not None else {}
    new = {str(op.get("id")): op for op in wanted}
    for ident, op in new.items():
        was = old.get(ident)
        present = _operation(primitive, op)
        if before is not None and was is not None and _text(was) == _text(op):
            if present is not None:
                _complete(present, op)
            continue
        if present is None:
            added = copy.deepcopy(op)
            added.set("id", free_id(primitive, ident))
            own_operations(primitive).append(added)
        else:
            _merge(present, op, was)
    mine = our_id("op", str(primitive.get("id")), "")
    for op in find(primitive, "operations/op"):
        ident = str(op.get("id"))
        gone = ident in old if before is not None else ident.startswith(f"{mine}..")
        if gone and ident not in new:
            detach(op)


def _merge(present: etree._Element, wanted: etree._Element, was: etree._Element | None) -> None:
    """Change what differs between what was and what is wanted."""
    keys = {*wanted.keys(), *(was.keys() if was is not None else ())} - {"id", "name"}
    for key in sorted(map(str, keys)):
        value = wanted.get(key)
        if was is not None and was.get(key) == value:
            continue
        if value is None:
            present.attrib.pop(key, "")
        elif key != "interval" or seconds(str(present.get(key, "0"))) != seconds(str(value)):
            present.set(key, str(value))
    ours = [one for one in present if str(one.get("id", "")).startswith(LASTING)]
    parts, past = (
        {str(one.get("id")): one for one in each} for each in (wanted, was if was is not None else ours)
    )
    for ident in dict.fromkeys((*parts, *past)):
        part = parts.get(ident)
        if was is not None and part is not None and ident in past and _text(part) == _text(past[ident]):
            continue
        for older in [one for one in ours if one.get("id") == ident]:
            detach(older)
        if part is not None and not is_overruled(present, part):
            present.append(copy.deepcopy(part))


def _complete(present: etree._Element, wanted: etree._Element) -> None:
    """Add the parts of ours that an operation lacks: an older version or another tool wrote none."""
    there = {one.get("id") for one in present}
    for part in wanted:
        if part.get("id") not in there and not is_overruled(present, part):
            present.append(copy.deepcopy(part))


def is_overruled(op: etree._Element, part: etree._Element) -> bool:
    """Tell whether somebody has already set what our part of an operation sets: then that stays."""
    names = [str(pair.get("name")) for pair in part.iter("nvpair")]
    theirs = [one for one in op.iterchildren(part.tag) if one.find("rule") is None]
    return any(
        name in op.attrib or any(find(one, "nvpair[@name=$name]", name=name) for one in theirs)
        for name in names
    )


def _operation(primitive: etree._Element, wanted: etree._Element) -> etree._Element | None:
    """Find an operation of the primitive's own by its id, or what another tool has made of it."""
    present = find(primitive, "operations[not(@id-ref)]/op")
    by_id = [op for op in present if op.get("id") == wanted.get("id")]
    alike = [op for op in present if op.get("name") == wanted.get("name") != "monitor"]
    return next(iter([*by_id, *alike]), None)


def own_operations(primitive: etree._Element) -> etree._Element:
    """Give the element for a primitive's own operations; raises WRONG_STATE where it has another one's."""
    operations = primitive.find("operations")
    if operations is None:
        return etree.SubElement(primitive, "operations")
    if operations.get("id-ref"):
        message = f"{primitive.get('id')} has the operations of another resource ({operations.get('id-ref')})"
        hint = f"give it its own: crm configure edit {primitive.get('id')}"
        raise VmMgrError(Kind.WRONG_STATE, message, hint=hint)
    return operations


def _pairs(sets: list[etree._Element], names: Collection[str]) -> list[etree._Element]:
    return [pair for one in sets for pair in one.iterchildren("nvpair") if pair.get("name") in names]


def _home(primitive: etree._Element, tag: str, sets: list[etree._Element]) -> etree._Element:
    """Give our set, else the first one that is the primitive's own, else a new one."""
    begin = our_id(KINDS[tag], str(primitive.get("id")))
    found = [*(one for one in sets if str(one.get("id", "")).startswith(begin)), *sets]
    if not found:
        sets.append(_new_set(primitive, tag))
    return found[0] if found else sets[-1]


def _new_set(primitive: etree._Element, tag: str) -> etree._Element:
    """Add a set after all others: of equal scores the last one counts."""
    ident = free_id(primitive, our_id(KINDS[tag], str(primitive.get("id"))))
    return etree.SubElement(primitive, tag, id=ident)


def _text(element: etree._Element) -> bytes:
    return etree.tostring(element, method="c14n")

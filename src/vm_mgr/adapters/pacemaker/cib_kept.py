"""Keep what others have set for a VM while it is out of the cluster, and give it back when the VM returns.

A constraint can't name a resource that is absent: Pacemaker refuses such a configuration. So the texts stand
in a set of cluster options that Pacemaker does not know (cib_records.py), by the ids that they had.
"""

import copy
from collections.abc import Iterator

from lxml import etree

from vm_mgr.adapters.pacemaker.cib_own import LASTING, is_overruled
from vm_mgr.adapters.pacemaker.cib_records import read_records, write_record
from vm_mgr.adapters.pacemaker.cib_resolve import agent, naming
from vm_mgr.adapters.pacemaker.cib_xml import detach, find, pair_id, parse_cib, section
from vm_mgr.model.cluster import OWN_AGENT
from vm_mgr.model.vm import VmName

__all__ = [
    "forget",
    "forget_changed",
    "keep",
    "rename_kept",
    "restore_constraints",
    "restore_primitive",
]

KEPT = "vm-mgr-kept"
VM = "vm.."
ENDS = ("rsc", "with-rsc", "first", "then")
REFERENCES = ("resource_ref", "obj_ref")
OURS = "vm-mgr-"
ABSENT = "absent"
# What moves put at operations for a time.
PASSING = ("vm-mgr-terms-", "vm-mgr-restart-")


def keep(cib: etree._Element, primitive: etree._Element, ours: etree._Element | None) -> None:
    """Write down what a VM has beyond what we have written, before it goes; with None only what names it.

    Of a VM that another tool's agent runs, parameters and operations are that agent's, and its
    locations follow that tool's settings, which ours replace.
    """
    name = VmName(str(primitive.get("id")))
    same_agent = agent(primitive) == OWN_AGENT
    if ours is not None:
        extra = _beyond(primitive, ours) if same_agent else _attributes(primitive, ours)
        write_record(cib, KEPT, VM + name, None if extra is None else _text(extra))
    tags = find(cib, "configuration/tags/tag[obj_ref/@id=$name]", name=name)
    going = [one for one in tags if len(find(one, "obj_ref")) == 1]
    constraints = [one for end in (name, *(str(tag.get("id")) for tag in going)) for one in naming(cib, end)]
    for one in (*tags, *constraints):
        ident = str(one.get("id"))
        is_theirs = not ident.startswith(OURS) and (same_agent or one.tag != "rsc_location")
        if is_theirs and ident not in _kept(cib):
            write_record(cib, KEPT, ident, _text(one))
    for tag in going:
        for one in naming(cib, str(tag.get("id"))):
            detach(one)


def restore_primitive(cib: etree._Element, primitive: etree._Element) -> None:
    """Give a new primitive what its predecessor had from others."""
    name = str(primitive.get("id"))
    text = _kept(cib).get(VM + name)
    if text is not None:
        _overlay(primitive, parse_cib(text))
        template = primitive.get("template")
        if template and find(cib, "configuration/resources/template[@id=$name]", name=template):
            for key in ("class", "provider", "type"):
                primitive.attrib.pop(key, "")
        else:
            primitive.attrib.pop("template", "")
        write_record(cib, KEPT, VM + name, None)


def restore_constraints(cib: etree._Element, name: VmName) -> None:
    """Give back the tags and constraints that name a VM, as far as their other ends are there."""
    back = {str(name)}
    for ident, element in _elements(cib):
        if element.tag == "tag" and _names(element) & back:
            _restore(cib, section(cib, "tags"), ident, element, back)
            back.add(ident)
    for ident, element in _elements(cib):
        if element.tag != "tag" and _names(element) & back:
            _restore(cib, section(cib, "constraints"), ident, element, back)


def forget(cib: etree._Element, name: VmName) -> None:
    """Drop all that is kept of a VM that does not come back."""
    write_record(cib, KEPT, VM + name, None)
    gone = {str(name)}
    for ident, element in sorted(_elements(cib), key=lambda kept: kept[1].tag != "tag"):
        if _names(element) & gone:
            lost = any(element.get(key) in gone for key in ENDS)
            for one in _references(element, gone):
                _detach_with_empty_sets(one)
            awaited = _names(element) - _present(cib)
            write_record(cib, KEPT, ident, _text(element) if awaited and not lost else None)
            if element.tag == "tag" and not (_names(element) or ident in _present(cib)):
                gone.add(ident)


def forget_changed(
    cib: etree._Element, name: VmName, now: etree._Element, before: etree._Element | None
) -> None:
    """Drop what somebody else had set where it is set anew while the VM is away."""
    text = _kept(cib).get(VM + name)
    if text is None or before is None:
        return
    extra, past = parse_cib(text), {_path(one): one for one in before.iter(etree.Element)}
    changed = {_path(one) for one in now.iter(etree.Element) if not _is_same(one, past.pop(_path(one), None))}
    changed |= set(past)
    for one in list(extra.iter("nvpair", "op")):
        if _path(one) in changed:
            detach(one)
    write_record(cib, KEPT, VM + name, _text(extra))


def rename_kept(cib: etree._Element, name: VmName, new: VmName) -> None:
    """Have what is kept name a VM as it is called now."""
    text = _kept(cib).get(VM + name)
    if text is not None:
        extra = parse_cib(text.replace(f"-{name}..", f"-{new}..").replace(f'-{name}"', f'-{new}"'))
        extra.set("id", new)
        write_record(cib, KEPT, VM + name, None)
        write_record(cib, KEPT, VM + new, _text(extra))
    for ident, element in _elements(cib):
        if name in _names(element):
            for key in (key for key in ENDS if element.get(key) == name):
                element.set(key, new)
            for one in _references(element, {name}):
                one.set("id", new)
            write_record(cib, KEPT, ident, _text(element))


def _restore(
    cib: etree._Element, home: etree._Element, ident: str, kept: etree._Element, back: set[str]
) -> None:
    missing = _names(kept) - _present(cib)
    present = next((one for one in home if one.get("id") == ident), None)
    if present is not None:
        for one in _references(kept, back):
            _insert(present, one)
    elif not any(kept.get(key) in missing for key in ENDS if kept.get(key)):
        added = copy.deepcopy(kept)
        for one in _references(added, missing):
            _detach_with_empty_sets(one)
        home.append(added)
    else:
        return
    if not missing:
        write_record(cib, KEPT, ident, None)


def _insert(present: etree._Element, reference: etree._Element) -> None:
    """Put a member back behind the nearest of those that were before it."""
    holder = reference.getparent()
    assert holder is not None  # noqa: S101 - it was found in a set or tag
    same = [one for one in present.iter(holder.tag) if one.get("id") == holder.get("id")]
    if not same:
        present.append(copy.deepcopy(holder))
        for one in list(present[-1]):
            if one.get("id") != reference.get("id"):
                detach(one)
        return
    if any(one.get("id") == reference.get("id") for one in same[0]):
        return
    before = [one.get("id") for one in reference.itersiblings(preceding=True)]
    at = max((place + 1 for place, one in enumerate(same[0]) if one.get("id") in before), default=0)
    same[0].insert(at, copy.deepcopy(reference))


def _beyond(present: etree._Element, ours: etree._Element) -> etree._Element | None:
    """Give what an element has that ours has not; what it lacks of ours is marked as absent."""
    extra = etree.Element(present.tag)
    for key, text in present.items():
        if key in ("id", "name") or ours.get(key) != text:
            extra.set(key, text)
    twins = {_path(one): one for one in ours}
    for child in present.iterchildren(etree.Element):
        twin = twins.pop(_path(child), None)
        extra.extend([] if _is_passing(child) else _more(child, twin))
    for twin in twins.values():
        # An operation without such a part is an older version's; nobody has changed it.
        older = str(twin.get("id")).startswith(LASTING) and not is_overruled(present, twin)
        if not _is_passing(twin) and not older:
            extra.append(etree.Element(twin.tag, {**_named(twin), ABSENT: "true"}))
    return extra if len(extra) or set(extra.keys()) - {"id", "name"} else None


def _attributes(primitive: etree._Element, ours: etree._Element) -> etree._Element | None:
    """Give the meta attributes and utilization of names that we don't write."""
    known = {str(pair.get("name")) for pair in ours.iter("nvpair")}
    extra = etree.Element("primitive", id=str(primitive.get("id")))
    extra.extend(copy.deepcopy(one) for one in primitive.iterchildren("meta_attributes", "utilization"))
    for pair in list(extra.iter("nvpair")):
        if pair.get("name") in known:
            detach(pair)
    for one in list(extra):
        if not one.get("id-ref") and one.find("nvpair") is None:
            detach(one)
    return extra if len(extra) else None


def _more(child: etree._Element, twin: etree._Element | None) -> list[etree._Element]:
    if twin is None or child.tag == "nvpair":
        return [] if _is_same(child, twin) else [copy.deepcopy(child)]
    more = _beyond(child, twin)
    return [] if more is None else [more]


def _overlay(target: etree._Element, extra: etree._Element) -> None:
    for key, text in extra.items():
        target.set(key, text)
    for child in extra:
        twin = next((one for one in target if _path(one) == _path(child)), None)
        if child.get(ABSENT):
            if twin is not None:
                target.remove(twin)
        elif twin is not None and child.tag == "nvpair":
            twin.set("value", str(child.get("value", "")))
        elif twin is not None:
            _overlay(twin, child)
        elif child.tag != "op" or child.get("interval"):
            target.append(child)


def _is_passing(element: etree._Element) -> bool:
    """Tell what is not kept: what moves have put there, our parameters, and the role, which is asked anew.

    A parameter that changes restarts the VM. So a change of ours waits for the VM's return, and counts then.
    """
    ident = str(element.get("id", ""))
    return ident.startswith(PASSING) or element.get("name") == "target-role" or _is_our_parameter(element)


def _is_our_parameter(element: etree._Element) -> bool:
    home = element.getparent()
    if home is None or home.tag != "instance_attributes" or not str(home.get("id", "")).startswith(OURS):
        return False
    return element.get("id") == pair_id(str(home.get("id")), str(element.get("name")))


def _path(element: etree._Element) -> tuple[str, str]:
    """Tell elements apart: by their ids, where they have some."""
    return str(element.tag), str(element.get("id", ""))


def _named(element: etree._Element) -> dict[str, str]:
    return {key: str(element.get(key)) for key in ("id", "name") if element.get(key)}


def _is_same(one: etree._Element, other: etree._Element | None) -> bool:
    return other is not None and set(one.items()) == set(other.items())


def _names(element: etree._Element) -> set[str]:
    """Name all resources and tags that a constraint or a tag names."""
    ends = {str(element.get(key)) for key in ENDS if element.get(key)}
    return ends | {str(one.get("id")) for one in element.iter(*REFERENCES)}


def _present(cib: etree._Element) -> set[str]:
    """Name all that a constraint can name."""
    return {str(one.get("id")) for one in find(cib, "configuration/resources//* | configuration/tags/tag")}


def _references(element: etree._Element, names: set[str]) -> list[etree._Element]:
    return [one for one in element.iter(*REFERENCES) if one.get("id") in names]


def _detach_with_empty_sets(reference: etree._Element) -> None:
    holder = detach(reference)
    if holder is not None and holder.tag == "resource_set" and len(holder) == 0:
        detach(holder)


def _kept(cib: etree._Element) -> dict[str, str]:
    return read_records(cib, KEPT)


def _elements(cib: etree._Element) -> Iterator[tuple[str, etree._Element]]:
    """Give the tags and constraints that are kept, by their ids."""
    for ident, text in _kept(cib).items():
        if not ident.startswith(VM):
            yield ident, parse_cib(text)


def _text(element: etree._Element) -> str:
    return etree.tostring(element, encoding="unicode", with_tail=False)

"""Read the CIB as the scheduler does: templates, references, rules, scores, groups and defaults resolved.

Sets of one kind are sorted by their scores, of equal ones the last in the CIB first. Of a name the first
value counts. What the primitive has goes before its template's, then come the group or clone, then the
defaults.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from lxml import etree

from vm_mgr.adapters.pacemaker.cib_rules import applies
from vm_mgr.adapters.pacemaker.cib_xml import find, referred
from vm_mgr.model.numbers import whole_number

__all__ = [
    "COLLECTIVES",
    "agent",
    "aliases",
    "effective",
    "local_now",
    "meta_attributes",
    "naming",
    "op_attribute",
    "operations",
    "own_attributes",
    "patterns",
    "score",
    "shape",
]

INFINITY = 1_000_000
_TAGS = "/cib/configuration/tags/tag[obj_ref/@id=$name]"
# What a pattern names: neither a tag, nor a template, nor what is in a group or clone.
_NO_WHOLE = (
    "/cib/configuration/resources/template[@id=$name] | /cib/configuration/tags/tag[@id=$name] | "
    "/cib/configuration/resources/*//*[self::primitive or self::group][@id=$name]"
)
# What POSIX and Python read differently: escapes, extensions, quantifiers in a row, classes of characters.
_UNLIKE = re.compile(r"\\[^.*+?()|^$]|\(\?|[*+?}][*+?]|\[[^]]*(?:[\[\\]|--|&&|~~|\|\|)")
COLLECTIVES = ("group", "clone", "master", "bundle")


def local_now() -> datetime:
    """Give the time with this node's zone, which is taken for that of all nodes."""
    return datetime.now().astimezone()


def shape(primitive: etree._Element) -> list[etree._Element]:
    """Give the elements that make a primitive: its template, if it has one, and itself."""
    template = primitive.get("template")
    found = find(primitive, "/cib/configuration/resources/template[@id=$name]", str(template))
    return [*found[:1], primitive]


def effective(
    owners: Sequence[etree._Element],
    tag: str,
    now: datetime,
    resource: etree._Element | None = None,
    operation: etree._Element | None = None,
) -> dict[str, str]:
    """Give the values of the sets that hold now, of one or more elements that count as one."""
    sets = [referred(one) for owner in owners for one in owner.iterchildren(tag)]
    found: dict[str, str] = {}
    for _, one in sorted(enumerate(sets), key=lambda place: (-score(place[1].get("score", "0")), -place[0])):
        if applies(one, now, resource, operation):
            for pair in one.iter("nvpair"):
                meant = referred(pair)
                name = str(pair.get("name") or meant.get("name"))
                if meant.get("value", "") != "#default":
                    found.setdefault(name, str(meant.get("value", "")))
    return found


def own_attributes(primitive: etree._Element, tag: str, now: datetime) -> dict[str, str]:
    """Give what a primitive has itself, or by its template."""
    return effective(shape(primitive), tag, now, _kind(primitive))


def meta_attributes(primitive: etree._Element, now: datetime) -> dict[str, str]:
    """Give all meta attributes, those of its group or clone and the cluster's defaults among them."""
    found, kind = own_attributes(primitive, "meta_attributes", now), _kind(primitive)
    outer: list[etree._Element] = [one for one in primitive.iterancestors() if one.tag in COLLECTIVES]
    outer += find(primitive, "/cib/configuration/rsc_defaults")
    for owner in outer:
        found = {**effective([owner], "meta_attributes", now, kind), **found}
    return found


def operations(primitive: etree._Element) -> list[etree._Element]:
    """Give a primitive's operations; one of its template is replaced by its own of that name and role."""
    own, known = [], set()
    for owner in reversed(shape(primitive)):
        found = [op for each in owner.iterchildren("operations") for op in referred(each).iterchildren("op")]
        own += [op for op in found if _op_key(op) not in known]
        known |= {_op_key(op) for op in found}
    return own


def op_attribute(primitive: etree._Element, op: etree._Element, name: str, now: datetime) -> str:
    """Give an operation's attribute: its own, else of its meta attributes, else the cluster's default."""
    kind = _kind(primitive)
    defaults = find(primitive, "/cib/configuration/op_defaults")
    layers: list[Mapping[str, str]] = [
        {str(key): str(text) for key, text in op.items()},
        effective([op], "meta_attributes", now, kind, op),
        effective(defaults, "meta_attributes", now, kind, op),
    ]
    return next((layer[name] for layer in layers if name in layer), "")


def agent(primitive: etree._Element) -> str:
    """Name a primitive's agent, which its template may say: "ocf:vm-mgr:VirtualDomain"."""
    kind = _kind(primitive)
    return ":".join(str(kind.get(key)) for key in ("class", "provider", "type") if kind.get(key))


def aliases(cib: etree._Element, name: str) -> dict[str, str]:
    """Name what constraints can call a resource by other than its own id: id → what that is, in words."""
    found = {str(tag.get("id")): "tag" for tag in find(cib, _TAGS, name)}
    for primitive in find(cib, "/cib/configuration/resources//primitive[@id=$name]", name):
        found |= {str(one.get("id")): "template" for one in shape(primitive)[:-1]}
        outer = [one for one in primitive.iterancestors() if one.tag in COLLECTIVES]
        found |= {str(one.get("id")): str(one.tag) for one in outer}
    return found


def naming(cib: etree._Element, name: str) -> list[etree._Element]:
    """Find the constraints with this id at one of their ends, or in one of their sets."""
    ends = "@rsc=$name or @with-rsc=$name or @first=$name or @then=$name or .//resource_ref/@id=$name"
    return find(cib, f"/cib/configuration/constraints/*[{ends}]", name)


def patterns(cib: etree._Element, name: str) -> Iterator[tuple[etree._Element, bool]]:
    """Find the constraints by a pattern that this name matches; with False, those that may mean it.

    Pacemaker takes a pattern for a POSIX extended regular expression, and one after "!" for its contrary
    (unpack_simple_location in pcmk_sched_location.c).
    """
    if find(cib, _NO_WHOLE, name):
        return
    for one in find(cib, "/cib/configuration/constraints/rsc_location[@rsc-pattern]"):
        pattern = str(one.get("rsc-pattern"))
        try:
            sure = _UNLIKE.search(pattern) is None
            found = sure and bool(re.search(pattern.removeprefix("!"), name)) is not pattern.startswith("!")
        except re.error:
            sure = found = False
        if found or not sure:
            yield one, sure


def _kind(primitive: etree._Element) -> etree._Element:
    """Give the element that says which agent it is."""
    return shape(primitive)[0]


def _op_key(op: etree._Element) -> tuple[str, str]:
    role = str(op.get("role", "")).lower()
    return str(op.get("name")), "" if role in ("started", "unpromoted", "slave") else role


def score(text: str) -> int:
    """Read a score; what is none counts as 0.

    >>> [score(text) for text in ("5", "-INFINITY", "+INFINITY", "red")]
    [5, -1000000, 1000000, 0]
    """
    number = whole_number(text.upper().removeprefix("+").replace("INFINITY", str(INFINITY)), signed=True)
    return number or 0

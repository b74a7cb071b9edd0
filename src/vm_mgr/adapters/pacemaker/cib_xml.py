"""Find and make elements of the CIB.

Ids that we make are vm-mgr-KIND-NAME and vm-mgr-KIND-NAME..REST: no kind has a dash, no name has "..".
"""

import re
from collections.abc import Mapping
from typing import Any

from lxml import etree

__all__ = [
    "PRIMITIVE",
    "bump_version",
    "detach",
    "find",
    "free_id",
    "nvpair",
    "nvset",
    "operation",
    "our_id",
    "ours",
    "pair_id",
    "parse_cib",
    "referred",
    "section",
]

PRIMITIVE = "configuration/resources//primitive[@id=$name]"
_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_blank_text=True)


def parse_cib(raw: str) -> etree._Element:
    """Parse a CIB."""
    return etree.fromstring(raw.encode(), _PARSER)


def bump_version(cib: etree._Element) -> None:
    """Give a changed CIB the next version, without which Pacemaker takes a patch for an old one."""
    cib.set("epoch", str(int(cib.get("epoch", "0")) + 1))
    cib.set("num_updates", "0")


def nvset(parent: etree._Element, tag: str, ident: str, pairs: Mapping[str, str]) -> None:
    """Add a set of attributes."""
    attributes = etree.SubElement(parent, tag, id=ident)
    for key, value in pairs.items():
        nvpair(attributes, ident, key, value)


def nvpair(parent: etree._Element, ident: str, key: str, value: str) -> None:
    """Add an attribute to a set of this id."""
    etree.SubElement(parent, "nvpair", id=pair_id(ident, key), name=key, value=value)


def operation(
    parent: etree._Element, ident: str, action: str, interval: str, timeout_s: int
) -> etree._Element:
    """Add an operation of a resource; the interval has a unit."""
    attributes = {"id": ident, "name": action, "interval": interval, "timeout": f"{timeout_s}s"}
    return etree.SubElement(parent, "op", attributes)


def our_id(kind: str, name: str, rest: str = "") -> str:
    """Make an id that says that it is ours."""
    return f"vm-mgr-{kind}-{name}" + (f"..{rest}" if rest else "")


def referred(element: etree._Element) -> etree._Element:
    """Give what an id-ref stands for, else the element itself."""
    ident = element.get("id-ref")
    found = find(element, "//*[@id=$name]", name=str(ident)) if ident else []
    return found[0] if found else element


def free_id(element: etree._Element, ident: str) -> str:
    """Give an id that nothing in the CIB has: this one, or one that continues it."""
    taken = {str(one.get("id")) for one in element.getroottree().iter(etree.Element)}
    numbered = (f"{ident}..{number}" for number in range(1, len(taken) + 2))
    return next(one for one in (ident, *numbered) if one not in taken)


def pair_id(ident: str, key: str) -> str:
    """Put a key into an id, in which not every character may stand: others become .23. for #, one for one."""
    return f"{ident}.." + re.sub(r"[^A-Za-z0-9_-]", lambda found: f".{ord(found[0]):x}.", key)


def ours(constraints: etree._Element, prefix: str) -> list[etree._Element]:
    """Give those whose id begins so."""
    return [element for element in constraints if str(element.get("id", "")).startswith(prefix)]


def section(cib: etree._Element, tag: str) -> etree._Element:
    """Give a section of the configuration, which is made where there is none."""
    configuration = cib.find("configuration")
    assert configuration is not None  # noqa: S101 - every CIB has one
    present = configuration.find(tag)
    return etree.SubElement(configuration, tag) if present is None else present


def find(element: etree._Element, path: str, name: str = "") -> list[etree._Element]:
    """Evaluate an XPath that gives elements; $name is its only variable."""
    found: Any = element.xpath(path, name=name)
    return list(found)


def detach(element: etree._Element) -> etree._Element | None:
    """Remove an element and give what had it."""
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)
    return parent

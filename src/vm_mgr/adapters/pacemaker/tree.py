"""Read XML into a small tree with expat alone.

xml.etree takes a tenth of the time of `vm-mgr list` to load. The text comes from Pacemaker, not from users.
"""

from __future__ import annotations

import pyexpat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Element", "parse"]


class Element:
    """A tag with its attributes and children; texts are not kept."""

    __slots__ = ("attributes", "children", "tag")

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Element] = []

    def get(self, name: str, default: str = "") -> str:
        """Give an attribute."""
        return self.attributes.get(name, default)

    def iterfind(self, path: str) -> Iterator[Element]:
        """Give what lies under these tags, one below the other: a/b/c."""
        tag, _, rest = path.partition("/")
        for child in self.children:
            if child.tag == tag:
                if rest:
                    yield from child.iterfind(rest)
                else:
                    yield child

    def find(self, path: str) -> Element | None:
        """Give the first of these, or None."""
        return next(self.iterfind(path), None)

    def iter(self, tag: str) -> Iterator[Element]:
        """Give all of a tag, at any depth."""
        for child in self.children:
            if child.tag == tag:
                yield child
            yield from child.iter(tag)


def parse(raw: str) -> Element:
    """Parse a text and give its outermost element; raises ValueError for what is no XML.

    >>> [c.get("name") for c in parse("<a><b><c name='x'/></b><b><c name='y'/></b></a>").iterfind("b/c")]
    ['x', 'y']
    """
    top = Element("", {})
    open_elements = [top]

    def start(tag: str, attributes: dict[str, str]) -> None:
        element = Element(tag, attributes)
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def end(_tag: str) -> None:
        open_elements.pop()

    parser = pyexpat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    try:
        parser.Parse(raw, True)  # noqa: FBT003 - expat's own way to say that this is all
    except pyexpat.ExpatError as error:
        raise ValueError(str(error)) from error
    return top.children[0]

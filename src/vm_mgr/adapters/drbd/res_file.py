"""Write a DRBD resource file, and read one, as of drbd-utils 8.4 and 9 for the kernel's module 8.4.

drbd.conf(5) of 8.4: the fencing policy is in the section disk, handlers have no ".9" in their names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from vm_mgr.adapters.drbd.record import Record, State, device, logical_volume, resource_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["FENCE", "UNFENCE", "Section", "parse_file", "render_file"]

FENCE = "/usr/lib/vm-mgr/drbd-fence-peer"
UNFENCE = "/usr/lib/vm-mgr/drbd-unfence-peer"
KIB = 1024
_TOKENS = re.compile(r'#[^\n]*|"((?:[^"\\\n]|\\.)*)"|([{};])|([^\s{};"#]+)')


def render_file(record: Record, group: str) -> str:
    """Write a resource; group: the volume group of its logical volumes.

    What is still being made has no fencing: the cluster does not know it, so nobody could be fenced for it.
    Its making fails where the nodes lose each other.
    """
    fencing = "resource-and-stonith" if record.state is State.PLACED else "dont-care"
    net = {
        "protocol": "C",
        "cram-hmac-alg": "sha256",
        "shared-secret": f'"{record.secret}"',
        "after-sb-0pri": "disconnect",
        "after-sb-1pri": "disconnect",
        "after-sb-2pri": "disconnect",
    }
    if record.two_primaries:
        net["allow-two-primaries"] = "yes"
    lines = ["# vm-mgr writes this file; changes are lost.", f"resource {resource_name(record.port)} {{"]
    lines += _section("net", net)
    lines += _section("disk", {"fencing": fencing})
    if record.state is State.PLACED:
        lines += _section("handlers", {"fence-peer": f'"{FENCE}"', "unfence-peer": f'"{UNFENCE}"'})
    for one in record.volumes:
        path = f"/dev/{group}/{logical_volume(one.minor)}"
        lines += [f"    volume {one.number} {{", f"        device {device(one.minor)} minor {one.minor};"]
        lines += [f"        disk {path};", "        meta-disk internal;"]
        lines += [f"        disk {{ size {one.size_bytes // KIB}K; }}", "    }"]
    for node, address in record.nodes.items():
        family, host = ("ipv6 ", f"[{address}]") if ":" in address else ("", address)
        lines += [f"    on {node} {{", f"        address {family}{host}:{record.port};", "    }"]
    return "\n".join([*lines, "}", ""])


def _section(name: str, options: Mapping[str, str]) -> list[str]:
    return [f"    {name} {{", *(f"        {key} {value};" for key, value in options.items()), "    }"]


class Section(NamedTuple):
    """A section of a file: its words, options by their first word, and what is inside of it."""

    words: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]
    inner: tuple[Section, ...]

    def sections(self, kind: str) -> list[Section]:
        """Give the sections inside of one kind."""
        return [one for one in self.inner if one.words[:1] == (kind,)]

    def option(self, kind: str, key: str) -> str:
        """Give an option of a section inside; empty where there is none."""
        found = (one.options[key] for one in self.sections(kind) if key in one.options)
        return " ".join(next(found, ()))


def parse_file(text: str) -> Section:
    """Read a whole file, also one that was written by hand; raises ValueError for what is no such file.

    >>> parse_file("resource r0 { net { protocol C; } }").inner[0].option("net", "protocol")
    'C'
    """
    return _parse_section((), _tokens(text), closed=False)


def _parse_section(words: tuple[str, ...], tokens: Iterator[tuple[str, bool]], *, closed: bool) -> Section:
    options: dict[str, tuple[str, ...]] = {}
    inner: list[Section] = []
    statement: list[str] = []
    for word, is_sign in tokens:
        if not is_sign:
            statement.append(word)
        elif word == "}":
            if not closed or statement:
                raise ValueError("a bracket closes what was not opened")
            return Section(words, options, tuple(inner))
        elif not statement:
            raise ValueError(f"there is nothing before {word!r}")
        else:
            if word == "{":
                inner.append(_parse_section(tuple(statement), tokens, closed=True))
            else:
                options[statement[0]] = tuple(statement[1:])
            statement = []
    if closed or statement:
        raise ValueError("it ends too early")
    return Section(words, options, tuple(inner))


def _tokens(text: str) -> Iterator[tuple[str, bool]]:
    """Give the words, and whether each is one of { } ;."""
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        found = _TOKENS.match(text, position)
        if found is None:
            raise ValueError(f"what begins with {text[position : position + 20]!r} is no word")
        position = found.end()
        if not found[0].startswith("#"):
            yield (found[1] if found[1] is not None else found[0]), found[2] is not None

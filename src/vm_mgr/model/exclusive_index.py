"""Know what each VM has that no other may have, without reading all of their definitions.

A storage keeps for each VM an entry "IDENT JSON"; the JSON is a list of pairs: what it is, and which. IDENT
is what the storage itself calls the VM, and no other one that gets its name later: a group's id, number and
last change of a folder. So an old entry is recognised. Who changes a definition forgets its entry.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vm_mgr.model.vm import VmName

__all__ = ["Exclusives", "exclusives", "refreshed"]

# What a VM has alone: pairs of words.
Exclusives = frozenset[tuple[str, str]]


def refreshed(
    kept: Mapping[Any, str],
    present: Mapping[VmName, str],
    read: Callable[[VmName], Iterable[tuple[str, str]]],
) -> dict[VmName, str]:
    """Give the entries of the VMs that are present: name → IDENT; only what is new or was replaced is read.

    A definition that can't be read has nothing and gets no entry: it may be mended.

    >>> present = {"a": "1", "b": "7", "d": "8"}
    >>> refreshed({"a": "1 []", "b": "2 []", "c": "3 []"}, present, {"b": [("log", "/x")], "d": ()}.get)
    {'a': '1 []', 'b': '7 [["log", "/x"]]'}
    """
    fresh = {}
    for name, ident in present.items():
        known = kept.get(name, "")
        if known.startswith(f"{ident} "):
            fresh[name] = known
        elif found := sorted(map(tuple, read(name))):
            fresh[name] = f"{ident} {json.dumps(found)}"
    return fresh


def exclusives(entries: Mapping[VmName, str]) -> dict[VmName, Exclusives]:
    """Give name → what it has alone; nothing of an entry that is broken.

    >>> exclusives({"a": '1 [["log", "/x"]]', "b": "1 {"})
    {'a': frozenset({('log', '/x')}), 'b': frozenset()}
    """
    return {name: _parsed(entry.partition(" ")[2]) for name, entry in entries.items()}


def _parsed(text: str) -> Exclusives:
    try:
        return frozenset((str(what), str(value)) for what, value in json.loads(text))
    except (TypeError, ValueError):
        return frozenset()

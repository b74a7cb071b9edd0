"""Know the UUIDs of all VMs without reading all of their definitions.

A storage keeps for each VM an entry "IDENT UUID". IDENT is what the storage itself calls the VM, and no other
one that gets its name later: a group's id, number and last change of a folder. So an old entry is recognised.
"""

from collections.abc import Callable, Mapping
from typing import Any

from vm_mgr.model.vm import VmName

__all__ = ["refreshed", "uuids"]


def refreshed(
    kept: Mapping[Any, str], present: Mapping[VmName, str], read: Callable[[VmName], str]
) -> dict[VmName, str]:
    """Give the entries of the VMs that are present: name → IDENT; only what is new or was replaced is read.

    A definition without a UUID, or one that can't be read, has no entry: it may be mended.

    >>> present = {"a": "1", "b": "7", "d": "8"}
    >>> refreshed({"a": "1 u", "b": "2 v", "c": "3 w"}, present, {"b": "x", "d": ""}.get)
    {'a': '1 u', 'b': '7 x'}
    """
    fresh = {}
    for name, ident in present.items():
        known = kept.get(name, "")
        if known.startswith(f"{ident} "):
            fresh[name] = known
        elif uuid := read(name):
            fresh[name] = f"{ident} {uuid}"
    return fresh


def uuids(entries: Mapping[VmName, str]) -> dict[VmName, str]:
    """Give name → UUID.

    >>> uuids({"a": "1 u"})
    {'a': 'u'}
    """
    return {name: entry.partition(" ")[2] for name, entry in entries.items()}

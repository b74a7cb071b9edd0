"""Meet the definition store port with the CIB: a set of cluster options per VM, vm-mgr-definition-NAME."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.adapters.pacemaker.cib_records import DEFINITIONS, read_records, record_sets, write_record
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lxml import etree

    from vm_mgr.adapters.pacemaker.cib import Cib

__all__ = ["CibDefinitions"]


class CibDefinitions:
    """Definitions that all nodes have, as they have the rest of the CIB."""

    def __init__(self, cib: Cib) -> None:
        self.cib = cib

    def names(self) -> set[VmName]:
        """Read the ids of the sets."""
        return {VmName(name) for name in record_sets(self.cib.read(), DEFINITIONS)}

    def metadata(self, name: VmName) -> Mapping[str, str]:
        """Read a set."""
        found = read_records(self.cib.read(), _ident(name))
        if not found:
            raise VmMgrError(Kind.NOT_FOUND, f"{name} has no definition", hint="see: vm-mgr list")
        return found

    def describe(self, name: VmName, metadata: Mapping[str, str | None]) -> None:
        """Change a set."""

        def change(cib: etree._Element) -> None:
            for key, text in metadata.items():
                write_record(cib, _ident(name), key, text or None)

        self.cib.edit(change)

    def rename(self, name: VmName, new: VmName) -> None:
        """Write a set anew."""

        def change(cib: etree._Element) -> None:
            found = read_records(cib, _ident(name))
            _clear(cib, name)
            if found:
                _clear(cib, new)
            for key, text in found.items():
                write_record(cib, _ident(new), key, text)

        self.cib.edit(change)

    def remove(self, name: VmName) -> bool:
        """Remove a set."""
        found = False

        def change(cib: etree._Element) -> None:
            nonlocal found
            found = _clear(cib, name)

        self.cib.edit(change)
        return found


def _ident(name: VmName) -> str:
    return DEFINITIONS + name


def _clear(cib: etree._Element, name: VmName) -> bool:
    found = read_records(cib, _ident(name))
    for key in found:
        write_record(cib, _ident(name), key, None)
    return bool(found)

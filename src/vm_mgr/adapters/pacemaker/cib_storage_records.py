"""Meet the port of a storage's records with the CIB: a set vm-mgr-disks-LABEL, and the VMs' definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.adapters.pacemaker.cib_records import DEFINITIONS, read_records, record_sets, write_record
from vm_mgr.model.vm import VmName
from vm_mgr.ports.storage_records import Kept

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lxml import etree

    from vm_mgr.adapters.pacemaker.cib import Cib

__all__ = ["CibStorageRecords"]


class CibStorageRecords:
    """What all nodes have, as they have the rest of the CIB."""

    def __init__(self, cib: Cib, label: str) -> None:
        self.cib = cib
        self.ident = f"vm-mgr-disks-{label}"

    def read(self) -> Kept:
        """Read both."""
        return self._read(self.cib.read())

    def change(self, edit: Callable[[Kept], None]) -> None:
        """Write what differs."""

        def change(cib: etree._Element) -> None:
            before, after = self._read(cib), self._read(cib)
            edit(after)
            _write(cib, self.ident, before.disks, after.disks)
            for name in before.definitions.keys() | after.definitions.keys():
                was, new = before.definitions.get(name, {}), after.definitions.get(name, {})
                _write(cib, DEFINITIONS + name, was, new)

        self.cib.edit(change)

    def _read(self, cib: etree._Element) -> Kept:
        names = [VmName(name) for name in record_sets(cib, DEFINITIONS)]
        definitions = {name: read_records(cib, DEFINITIONS + name) for name in names}
        return Kept(read_records(cib, self.ident), definitions)


def _write(cib: etree._Element, ident: str, before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Remove first: what is new may need the room."""
    for key in sorted(before.keys() - after.keys()):
        write_record(cib, ident, key, None)
    for key, text in sorted(after.items()):
        if before.get(key) != text:
            write_record(cib, ident, key, text)

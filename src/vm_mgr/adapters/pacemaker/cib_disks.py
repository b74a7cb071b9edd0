"""Meet the port that stops and starts a VM's disks: the clone's target role, in the CIB."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.adapters.pacemaker.cib_xml import find, nvpair, nvset
from vm_mgr.model.resource import OURS

if TYPE_CHECKING:
    from lxml import etree

    from vm_mgr.adapters.pacemaker.cib import Cib

__all__ = ["CibDisks"]

ROLE = "target-role"
STOPPED = "Stopped"


class CibDisks:
    """Disks that the cluster has; none but ours is touched."""

    def __init__(self, cib: Cib) -> None:
        self.cib = cib

    def stop(self, ident: str) -> bool:
        """Set the role."""
        there = False

        def change(cib: etree._Element) -> None:
            nonlocal there
            disks = _disks(cib, ident)
            there = bool(disks)
            for disk in disks:
                _set_role(disk, ident, STOPPED)

        self.cib.edit(change)
        return there

    def start(self, ident: str) -> None:
        """Remove the role."""

        def change(cib: etree._Element) -> None:
            for disk in _disks(cib, ident):
                _set_role(disk, ident, "")

        self.cib.edit(change)


def _disks(cib: etree._Element, ident: str) -> list[etree._Element]:
    if not ident.startswith(OURS):
        return []
    return find(cib, "configuration/resources/*[@id=$name]", name=ident)


def _set_role(disk: etree._Element, ident: str, role: str) -> None:
    lasting = find(disk, "meta_attributes[not(rule)]")
    for pair in find(disk, "meta_attributes/nvpair[@name=$name]", name=ROLE):
        parent = pair.getparent()
        if parent is not None:
            parent.remove(pair)
    if not role:
        return
    if lasting:
        nvpair(lasting[0], str(lasting[0].get("id")), ROLE, role)
    else:
        nvset(disk, "meta_attributes", f"{ident}..meta", {ROLE: role})

"""Mark a guest that arrives by a live migration and has to wait for the end of its source.

The target's libvirt starts no processor of it (VIR_MIGRATE_PAUSED): both halves stand then, and a lost
answer leaves no two that run. The mark travels in the domain's own metadata: it is in libvirt's status file,
outlives every process of ours, and ends with the domain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxml import etree

from vm_mgr.adapters.libvirt.commands import ARRIVAL

if TYPE_CHECKING:
    from vm_mgr.adapters.libvirt.connection import Connection
    from vm_mgr.model.vm import VmName

__all__ = ["is_marked", "let_go", "mark"]

PREFIX = "vm-mgr"
_AHEAD = ("name", "uuid", "genid", "title", "description")


def mark(xml: str, ident: str = "", *, stands: bool) -> str:
    """Add the mark to the XML that the target is to take over.

    ident tells this migration from any other; stands: its user had paused the guest.

    >>> marked = mark("<domain><name>a</name><os/></domain>", stands=False)
    >>> marked[22:-14]
    '<metadata><vm-mgr:arrival xmlns:vm-mgr="urn:vm-mgr:arrival"/></metadata>'
    >>> mark(marked, stands=False) == marked
    True
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    domain = etree.fromstring(xml.encode(), parser)
    metadata = domain.find("metadata")
    if metadata is None:
        metadata = etree.Element("metadata")
        domain.insert(sum(1 for child in domain if child.tag in _AHEAD), metadata)
    for older in metadata.findall(f"{{{ARRIVAL}}}arrival"):
        metadata.remove(older)
    arrival = etree.SubElement(metadata, f"{{{ARRIVAL}}}arrival", nsmap={PREFIX: ARRIVAL})
    if ident:
        arrival.set("id", ident)
    if stands:
        arrival.set("stands", "yes")
    return etree.tostring(domain, encoding="unicode")


def is_marked(libvirt: Any, domain: Any) -> bool:
    """Tell; to be called from within a call of a connection."""
    return _mark_of(libvirt, domain) is not None


def let_go(connection: Connection, name: VmName, timeout_s: float, ident: str = "") -> None:
    """Let the guest run, unless its user had paused it, and take the mark away; both may be done already.

    Where ident is given, one that has come by another migration stays as it is.
    """

    def act(libvirt: Any) -> None:
        domain = connection.domain(libvirt, name)
        found = _mark_of(libvirt, domain)
        if found is None or (ident and found.get("id") != ident):
            return
        if found.get("stands") is None and domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
            domain.resume()
        kind, namespace, flags = _place(libvirt)
        domain.setMetadata(kind, None, PREFIX, namespace, flags)

    connection.call(act, timeout_s)


def _mark_of(libvirt: Any, domain: Any) -> etree._Element | None:
    kind, namespace, flags = _place(libvirt)
    try:
        return etree.fromstring(domain.metadata(kind, namespace, flags).encode())
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            raise
        return None


def _place(libvirt: Any) -> tuple[int, str, int]:
    return libvirt.VIR_DOMAIN_METADATA_ELEMENT, ARRIVAL, libvirt.VIR_DOMAIN_AFFECT_LIVE

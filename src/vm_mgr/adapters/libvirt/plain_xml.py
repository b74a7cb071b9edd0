"""Parse XML that anybody may have written: without entities, DTDs or network access."""

from lxml import etree

from vm_mgr.errors import Kind, VmMgrError

__all__ = ["parse_plain"]


def parse_plain(raw: bytes, *, what: str, hint: str, encoding: str | None = None) -> etree._Element:
    """Give the root element; raises INVALID.

    what: the text in words, for messages. encoding: whatever its declaration says.
    """
    parser = etree.XMLParser(
        encoding=encoding,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_blank_text=True,
        huge_tree=False,
    )
    try:
        root = etree.fromstring(raw, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise VmMgrError(Kind.INVALID, f"{what} is not XML: {error}", hint=hint) from error
    if root.getroottree().docinfo.internalDTD is not None or next(root.iter(etree.Entity), None) is not None:
        raise VmMgrError(
            Kind.INVALID,
            f"{what} has a DOCTYPE or entities",
            hint="write the values out and remove the DOCTYPE",
        )
    return root

"""Parse a domain's XML, and write it again."""

import uuid

from lxml import etree

from vm_mgr.adapters.libvirt.plain_xml import parse_plain
from vm_mgr.errors import Kind, VmMgrError

__all__ = ["XML_HINT", "parse", "set_first", "text_of", "uuid_of"]

XML_HINT = "give the XML of a libvirt domain, as `virsh dumpxml --inactive` prints it"


def parse(xml: str) -> etree._Element:
    """Read a domain without entities, DTDs or network access; raises INVALID.

    A text is no bytes any more: the encoding that its declaration names was undone when it was read from them
    (model/xml_encoding.py), and does not count here.
    """
    try:
        root = parse_plain(xml.encode(), what="the definition", hint=XML_HINT, encoding="utf-8")
    except VmMgrError as error:
        if isinstance(error.__cause__, etree.XMLSyntaxError):
            raise _syntax_problem(error.__cause__) from error
        raise
    if root.tag != "domain":
        message = f"the definition is a <{root.tag}>, not a <domain>"
        raise VmMgrError(Kind.INVALID, message, hint=XML_HINT)
    return root


def text_of(root: etree._Element) -> str:
    """Write a domain with usual indents, without a declaration."""
    etree.indent(root)
    return etree.tostring(root, encoding="unicode")


def uuid_of(root: etree._Element) -> str:
    """Read the UUID in lower case with dashes, or the empty string; raises INVALID."""
    text = (root.findtext("uuid") or "").strip()
    try:
        return str(uuid.UUID(text)) if text else ""
    except ValueError as error:
        hint = "remove the <uuid> element; a new one is generated"
        raise VmMgrError(Kind.INVALID, f"{text!r} is not a UUID", hint=hint) from error


def set_first(root: etree._Element, tag: str, text: str) -> None:
    """Have this element once, at the top."""
    for element in root.findall(tag):
        root.remove(element)
    element = etree.Element(tag)
    element.text = text
    root.insert(0, element)


def _syntax_problem(error: etree.XMLSyntaxError) -> VmMgrError:
    """Say what it is, in one line; two domains in one file are the fault that tools make."""
    code = getattr(error, "code", None)
    goes_on = code == etree.ErrorTypes.ERR_DOCUMENT_END
    second = code == etree.ErrorTypes.ERR_RESERVED_XML_NAME and (error.lineno or 1) > 1
    if goes_on or second:
        message = f"the definition goes on in line {error.lineno}, after the end of its first element"
        hint = "give one <domain> alone; where virt-install has printed two, the second: --print-xml 2"
        return VmMgrError(Kind.INVALID, message, hint=hint)
    return VmMgrError(Kind.INVALID, f"the definition is not XML: {error.msg}", hint=XML_HINT)

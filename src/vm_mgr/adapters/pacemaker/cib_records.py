"""Keep texts by name in the CIB, in sets of cluster options whose names Pacemaker does not know.

A value is JSON: nothing in it is changed by any release's way to write XML attributes, and bzip2, which
Pacemaker's IPC applies to long messages, finds what definitions have in common. So it is not compressed.
"""

import json

from lxml import etree

from vm_mgr.adapters.pacemaker.cib_xml import detach, find, ours, pair_id, section
from vm_mgr.errors import Kind, VmMgrError

__all__ = ["DEFINITIONS", "INTENTS", "LOCKS", "read_records", "record_sets", "write_record"]

INTENTS = "vm-mgr-intents"
LOCKS = "vm-mgr-locks"
DEFINITIONS = "vm-mgr-definition-"
# Each change sends all of the CIB to each node, and each query to its reader.
ONE_MAX = 64 << 10
ALL_MAX = 1 << 20


def read_records(cib: etree._Element, ident: str) -> dict[str, str]:
    """Read a set; what is no JSON text is left out."""
    found = {}
    for pair in find(cib, "configuration/crm_config/cluster_property_set[@id=$name]/nvpair", name=ident):
        text = _text(str(pair.get("value", "")))
        if text is not None:
            found[str(pair.get("name", "")).removeprefix(_name(ident, ""))] = text
    return found


def record_sets(cib: etree._Element, prefix: str) -> list[str]:
    """Name the sets whose ids begin so, by what follows."""
    found = ours(section(cib, "crm_config"), prefix)
    return [str(one.get("id")).removeprefix(prefix) for one in found]


def write_record(cib: etree._Element, ident: str, key: str, text: str | None) -> None:
    """Replace a text, or remove it for None; an empty set goes. Raises NO_RESOURCES for too much text."""
    config = section(cib, "crm_config")
    options = next((one for one in config if one.get("id") == ident), None)
    if options is None:
        if text is None:
            return
        options = etree.SubElement(config, "cluster_property_set", id=ident)
    for pair in find(options, "nvpair[@name=$name]", name=_name(ident, key)):
        detach(pair)
    if text is not None:
        value = json.dumps(text)
        _require_room(config, len(value))
        pair = etree.SubElement(options, "nvpair", id=pair_id(ident, key), name=_name(ident, key))
        pair.set("value", value)
    if options.find("nvpair") is None:
        detach(options)


def _require_room(config: etree._Element, size: int) -> None:
    values = find(config, "cluster_property_set[starts-with(@id, 'vm-mgr-')]/nvpair")
    if size <= ONE_MAX and size + sum(len(str(one.get("value", ""))) for one in values) <= ALL_MAX:
        return
    message = (
        f"the cluster's configuration takes texts of {ONE_MAX >> 10} KiB, and {ALL_MAX >> 10} KiB in all"
    )
    raise VmMgrError(Kind.NO_RESOURCES, message, hint="keep fewer VMs or notes in this storage")


def _name(ident: str, key: str) -> str:
    """Name an option as no other is called: a key can be anything, also a name of Pacemaker's."""
    return f"{ident}..{key}"


def _text(raw: str) -> str | None:
    try:
        text = json.loads(raw)
    except ValueError:
        return None
    return text if isinstance(text, str) else None

"""Write the rules by which a VM avoids nodes where it can't start, or can't be reached (docs/design/0011).

One location constraint has one rule: more are not allowed any more by newer Pacemakers.
"""

from lxml import etree

from vm_mgr.adapters.pacemaker.elements import PRIMITIVE, detach, find, our_id, section
from vm_mgr.model.fitness import BRIDGE, CUT, ask_of, attribute, scores
from vm_mgr.model.vm import VmName

__all__ = ["FITNESS", "add_rules", "change_rules", "read_rules"]

FITNESS = ("vm-mgr-fits-", "vm-mgr-uplink-")


def add_rules(
    constraints: etree._Element, name: VmName, asks: tuple[str, ...], *, follow_uplink: bool
) -> None:
    """Add one for each answer of a node that speaks against it."""
    for ask, answer, score in scores(asks, follow_uplink=follow_uplink):
        kind = "uplink" if answer == CUT else "fits"
        location = etree.SubElement(constraints, "rsc_location", id=our_id(kind, name, ask), rsc=name)
        weight = {"id": our_id(kind, name, f"{ask}..rule"), "score": str(score)}
        rule = etree.SubElement(location, "rule", weight)
        told = {"attribute": attribute(ask), "operation": "eq", "value": answer}
        etree.SubElement(rule, "expression", {"id": our_id(kind, name, f"{ask}..told"), **told})


def change_rules(
    cib: etree._Element, name: VmName, asks: tuple[str, ...], *, follow_uplink: bool
) -> None:
    """Replace those of a VM that the cluster has; where they say the same already they stay as they are."""
    present = read_rules(cib, name)
    if not find(cib, PRIMITIVE, name=name) or (present[0] == asks and (not asks or present[1] == follow_uplink)):
        return
    constraints = section(cib, "constraints")
    for location in find(constraints, "rsc_location[@rsc=$name]", name=name):
        if str(location.get("id", "")).startswith(FITNESS):
            detach(location)
    add_rules(constraints, name, asks, follow_uplink=follow_uplink)


def read_rules(cib: etree._Element, name: VmName) -> tuple[tuple[str, ...], bool]:
    """Give what a VM asks for, and whether it also goes by the uplinks of its bridges."""
    asks: dict[str, None] = {}
    uplinks = False
    for location in find(cib, "configuration/constraints/rsc_location[@rsc=$name]", name=name):
        if str(location.get("id", "")).startswith(FITNESS):
            for told in find(location, "rule/expression"):
                asks[ask_of(str(told.get("attribute", "")))] = None
                uplinks = uplinks or told.get("value") == CUT
    asks.pop("", None)
    return tuple(asks), uplinks or not any(ask.startswith(BRIDGE) for ask in asks)

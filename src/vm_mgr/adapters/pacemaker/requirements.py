"""Write the rules by which a VM avoids nodes where it can't start, or can't be reached (docs/design/0011).

One location constraint has one rule: more are not allowed any more by newer Pacemakers.
"""

from lxml import etree

from vm_mgr.adapters.pacemaker.cib_resolve import agent
from vm_mgr.adapters.pacemaker.cib_xml import PRIMITIVE, detach, find, our_id, section
from vm_mgr.model.cluster import OWN_AGENT
from vm_mgr.model.node_requirements import BRIDGE, CUT, ask_of, attribute, published, scores
from vm_mgr.model.vm import VmName

__all__ = ["FALSE", "FITNESS", "add_rules", "change_rules", "read_rules"]

# Words for no in Pacemaker.
FALSE = ("0", "false", "off", "no", "n")
FITNESS = ("vm-mgr-fits-", "vm-mgr-uplink-")


def add_rules(
    constraints: etree._Element, name: VmName, requirements: tuple[str, ...], *, follow_uplink: bool
) -> None:
    """Add one for each answer against a node, whose score goes to all nodes that don't give it.

    None in an opt-in cluster: there a score opens a node to the VM that its administrator has left out.
    """
    if _is_opt_in(constraints):
        return
    for ask, answer, score in scores(published(requirements), follow_uplink=follow_uplink):
        kind = "uplink" if answer == CUT else "fits"
        location = etree.SubElement(constraints, "rsc_location", id=our_id(kind, name, ask), rsc=name)
        either = {"id": our_id(kind, name, f"{ask}..rule"), "score": str(score), "boolean-op": "or"}
        rule = etree.SubElement(location, "rule", either)
        for which, told in {"untold": {"operation": "not_defined"}, "told": _unlike(answer)}.items():
            expression = {"id": our_id(kind, name, f"{ask}..{which}"), "attribute": attribute(ask), **told}
            etree.SubElement(rule, "expression", expression)


def _unlike(answer: str) -> dict[str, str]:
    return {"operation": "ne", "value": answer}


def change_rules(
    cib: etree._Element, name: VmName, requirements: tuple[str, ...], *, follow_uplink: bool
) -> None:
    """Replace those of a VM, unless its agent is not ours, or they say the same already."""
    ours = [one for one in find(cib, PRIMITIVE, name=name) if agent(one) == OWN_AGENT]
    constraints = section(cib, "constraints")
    wanted = () if _is_opt_in(constraints) else published(requirements)
    if not ours or read_rules(cib, name) == (wanted, follow_uplink):
        return
    for location in find(constraints, "rsc_location[@rsc=$name]", name=name):
        if str(location.get("id", "")).startswith(FITNESS):
            detach(location)
    add_rules(constraints, name, requirements, follow_uplink=follow_uplink)


def _is_opt_in(constraints: etree._Element) -> bool:
    """Tell whether only those nodes are open to a resource that a rule names (symmetric-cluster=false)."""
    said = find(constraints, "../crm_config//nvpair[@name='symmetric-cluster']")[:1]
    return bool(said) and str(said[0].get("value", "")).lower() in FALSE


def read_rules(cib: etree._Element, name: VmName) -> tuple[tuple[str, ...], bool]:
    """Give what a VM asks for, and whether it also goes by the uplinks of its bridges."""
    requirements: dict[str, None] = {}
    uplinks = False
    for location in find(cib, "configuration/constraints/rsc_location[@rsc=$name]", name=name):
        if str(location.get("id", "")).startswith(FITNESS):
            for told in find(location, "rule/expression"):
                requirements[ask_of(str(told.get("attribute", "")))] = None
                uplinks = uplinks or told.get("value") == CUT
    requirements.pop("", None)
    return tuple(requirements), uplinks or not any(ask.startswith(BRIDGE) for ask in requirements)

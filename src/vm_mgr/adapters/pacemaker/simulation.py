"""Ask Pacemaker's scheduler what it would do, without having it done: crm_simulate --run."""

import xml.etree.ElementTree as ET

from vm_mgr.adapters.pacemaker.tools import call, check
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.ports.cluster import SideEffect
from vm_mgr.ports.runner import Runner

__all__ = ["read_side_effects", "read_target", "simulate"]

COMMAND = ("crm_simulate", "--run", "--xml-pipe", "--output-as=xml")
# A live migration is "migrate"; what is called a move stops on one node and starts on another.
HARM = {
    "stop": SideEffect.STOPPED,
    "move": SideEffect.RESTARTED,
    "restart": SideEffect.RESTARTED,
    "recover": SideEffect.RESTARTED,
}


def simulate(runner: Runner, cib: str) -> ET.Element:
    """Give what the cluster would do if this were its configuration and status, as crm_simulate tells it.

    The standard library's parser will do, since the text comes from Pacemaker.
    """
    try:
        return ET.fromstring(check(call(runner, COMMAND, stdin=cib)).stdout)  # noqa: S314
    except ET.ParseError as error:
        raise VmMgrError(Kind.EXTERNAL_FAILURE, f"crm_simulate's answer is not XML: {error}") from error


def read_side_effects(told: ET.Element) -> dict[str, SideEffect]:
    """Give the resources that would be stopped or restarted.

    >>> told = ET.fromstring('<r><actions><rsc_action action="stop" resource="web1"/></actions></r>')
    >>> read_side_effects(told)
    {'web1': <SideEffect.STOPPED: 'stopped'>}
    """
    actions = [(one.get("resource", ""), one.get("action", "").lower()) for one in told.iterfind("actions/*")]
    return {resource: HARM[action] for resource, action in actions if action in HARM}


def read_target(told: ET.Element, name: str) -> NodeName | None:
    """Give the node that a VM would move to live.

    >>> action = '<rsc_action action="migrate" resource="web1" source="n1" dest="n2"/>'
    >>> read_target(ET.fromstring(f"<r><actions>{action}</actions></r>"), "web1")
    'n2'
    """
    for one in told.iterfind("actions/*"):
        if one.get("resource") == name and one.get("action", "").lower() == "migrate":
            return NodeName(one.get("dest", "")) or None
    return None

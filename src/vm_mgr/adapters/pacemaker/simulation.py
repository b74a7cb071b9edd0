"""Ask Pacemaker's scheduler what it would do, without having it done: crm_simulate --run."""

import xml.etree.ElementTree as ET

from vm_mgr.adapters.pacemaker.tools import call, check
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.ports.cluster import SideEffect
from vm_mgr.ports.runner import Runner

__all__ = ["read_side_effects", "simulate"]

COMMAND = ("crm_simulate", "--run", "--xml-pipe", "--output-as=xml")
# A live migration is "migrate"; what is called a move stops on one node and starts on another.
HARM = {
    "stop": SideEffect.STOPPED,
    "move": SideEffect.RESTARTED,
    "restart": SideEffect.RESTARTED,
    "recover": SideEffect.RESTARTED,
}


def simulate(runner: Runner, cib: str) -> dict[str, SideEffect]:
    """Give the resources that the cluster would stop or restart if this were its configuration and status."""
    return read_side_effects(check(call(runner, COMMAND, stdin=cib)).stdout)


def read_side_effects(raw: str) -> dict[str, SideEffect]:
    """Read the answer; the standard library's parser will do, since the text comes from Pacemaker.

    >>> read_side_effects('<r><actions><rsc_action action="stop" resource="web1"/></actions></r>')
    {'web1': <SideEffect.STOPPED: 'stopped'>}
    """
    try:
        root = ET.fromstring(raw)  # noqa: S314
    except ET.ParseError as error:
        raise VmMgrError(Kind.EXTERNAL_FAILURE, f"crm_simulate's answer is not XML: {error}") from error
    actions = [(one.get("resource", ""), one.get("action", "").lower()) for one in root.iterfind("actions/*")]
    return {resource: HARM[action] for resource, action in actions if action in HARM}

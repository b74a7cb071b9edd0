"""Ask Pacemaker's scheduler what it would do, without having it done: crm_simulate --run."""

import xml.etree.ElementTree as ET
from functools import cached_property

from vm_mgr.adapters.pacemaker.tools import call, check
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.ports.cluster import SideEffect
from vm_mgr.ports.runner import Runner

__all__ = ["Told", "simulate"]

COMMAND = ("crm_simulate", "--run", "--xml-pipe", "--output-as=xml")
# What is called a move stops on one node and starts on another.
HARM = {
    "stop": SideEffect.STOPPED,
    "move": SideEffect.RESTARTED,
    "restart": SideEffect.RESTARTED,
    "recover": SideEffect.RESTARTED,
    "migrate": SideEffect.MOVED,
}


def simulate(runner: Runner, cib: str, *, scores: bool = False) -> "Told":
    """Give what the cluster would do if this were its configuration and status, as crm_simulate tells it.

    The standard library's parser will do, since the text comes from Pacemaker.
    """
    argv = (*COMMAND, "--show-scores") if scores else COMMAND
    try:
        return Told(ET.fromstring(check(call(runner, argv, stdin=cib)).stdout))  # noqa: S314
    except ET.ParseError as error:
        raise VmMgrError(Kind.EXTERNAL_FAILURE, f"crm_simulate's answer is not XML: {error}") from error


class Told:
    """What crm_simulate has told. An action that it calls blocked would not take place.

    >>> action = '<rsc_action action="start" resource="db1" node="n1" blocked="true"/>'
    >>> Told(ET.fromstring(f"<r><actions>{action}</actions></r>")).runs("db1")
    False
    """

    def __init__(self, root: ET.Element) -> None:
        self._root = root
        self._actions = [
            (one.get("resource", ""), one.get("action", "").lower(), one)
            for one in root.iterfind("actions/*")
            if one.get("blocked") != "true"
        ]

    @cached_property
    def running(self) -> frozenset[str]:
        """Name the resources that run, groups and clones of which something runs among them."""
        found = set()
        for one in self._root.iterfind("cluster_status/resources//*"):
            if one.get("id") and any(part.get("active") == "true" for part in one.iter("resource")):
                found.add(one.get("id", "").partition(":")[0])
        return frozenset(found)

    def effects(self) -> dict[str, SideEffect]:
        """Give the resources that would be stopped, restarted or moved.

        >>> told = '<r><actions><rsc_action action="stop" resource="web1"/></actions></r>'
        >>> Told(ET.fromstring(told)).effects()
        {'web1': <SideEffect.STOPPED: 'stopped'>}
        """
        return {resource: HARM[action] for resource, action, _ in self._actions if action in HARM}

    def runs(self, name: str) -> bool:
        """Tell whether a resource would run then; of a clone's member, which has a number, an instance."""
        done = {action for resource, action, _ in self._actions if resource.partition(":")[0] == name}
        return bool(done - {"stop"}) or (name in self.running and "stop" not in done)

    def destination(self, name: str) -> NodeName | None:
        """Give the node where a VM would go, in whatever way."""
        return self._target(name, ("migrate", "move"))

    def live_target(self, name: str) -> NodeName | None:
        """Give the node that a VM would move to live.

        >>> action = '<rsc_action action="migrate" resource="web1" source="n1" dest="n2"/>'
        >>> Told(ET.fromstring(f"<r><actions>{action}</actions></r>")).live_target("web1")
        'n2'
        """
        return self._target(name, ("migrate",))

    @property
    def rated(self) -> set[tuple[str, str]]:
        """Give the resources with the nodes that the scheduler considers for them, where scores are told."""
        return {
            (one.get("id", "").partition(":")[0], one.get("node", ""))
            for one in self._root.iter("node_weight")
        }

    def _target(self, name: str, kinds: tuple[str, ...]) -> NodeName | None:
        for resource, action, one in self._actions:
            if resource == name and action in kinds:
                return NodeName(one.get("dest", "")) or None
        return None

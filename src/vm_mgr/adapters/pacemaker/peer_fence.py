"""Read and write, in the CIB, what DRBD's handlers go by, with Pacemaker 2.1 and 3.0.

The standard library's parser, as for crm_mon: a handler runs while a VM's writes are frozen, and the text is
Pacemaker's own. Up to 2.1.6 a node's state has in_ccm="true" and crmd="online"; from 2.1.7 on both are the
time in seconds since which that is so, and 0 where it is not.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

from vm_mgr.adapters.pacemaker.tools import CONFLICT, call, check
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.peer_fence import Peer, View
from vm_mgr.ports.runner import Completed, Runner

__all__ = ["PacemakerPeers", "constraint_xml", "last_fencing", "parse_view", "strange_states"]

PREFIX = "vm-mgr-drbd-fence-"
EXISTS = 108  # CRM_EX_EXISTS
# What may stand in an id; DRBD's own names have nothing else.
PLAIN = re.compile(r"[A-Za-z0-9_.-]+")
# What a role is called by schemas from before Pacemaker 2.1.
ROLES = ("Promoted", "Master")
LIMIT_S = 10
COPY_S = 4
# How an operation ends after which DRBD is not there.
GONE = (("stop", "0"), ("monitor", "7"))
TRUE, FALSE = ("true", "online"), ("false", "offline")


class PacemakerPeers:
    """The constraint that lets only one node of a DRBD resource be promoted."""

    def __init__(self, runner: Runner, node: str) -> None:
        self.runner = runner
        self._node = node

    def here(self) -> str:
        """Name this node; Pacemaker takes the host's name."""
        return self._node

    def look(self, resource: str, peer: str, stamp: str) -> View:
        """See the peer, and the constraint."""
        raw = check(self._call("cibadmin", "--query")).stdout
        view = parse_view(raw, resource, peer, self._node)
        if not stamp or view.stamp != stamp:
            return view  # nothing is answered yet: the rest is asked once the constraint is there
        if view.peer is Peer.FENCED and not self._was_fenced(peer):
            view = view._replace(peer=Peer.LEFT)
        live = view.quorate and self._call("crm_node", "--quorum").stdout.strip() == "1"
        known = live and self._is_known(raw, resource, peer, view)
        return view._replace(quorate=live, known=known)

    def create(self, resource: str, clone: str, stamp: str) -> bool:
        """Place it, in one step that fails where one is there."""
        done = None
        for role in ROLES:
            text = constraint_xml(resource, clone, self._node, stamp, role=role)
            done = self._call("cibadmin", "--create", "--scope", "constraints", "--xml-text", text)
            if done.exit_code in (0, EXISTS):
                return done.exit_code == 0
        return check(done).exit_code == 0 if done else False

    def renew(self, resource: str, clone: str, old: str, stamp: str) -> bool:
        """Replace it, in one step that fails where it is another one meanwhile."""
        done = None
        for role in ROLES:
            text = constraint_xml(resource, clone, self._node, stamp, role=role)
            done = self._call("cibadmin", "--replace", "--xpath", _path(resource, old), "--xml-text", text)
            if done.exit_code == 0 or done.exit_code in CONFLICT:
                return done.exit_code == 0
        return check(done).exit_code == 0 if done else False

    def remove(self, resource: str, stamp: str) -> None:
        """Remove it; where there is none with this stamp, Pacemaker removes nothing."""
        done = self._call("cibadmin", "--delete", "--xpath", _path(resource, stamp))
        if done.exit_code not in CONFLICT:
            check(done)

    def _was_fenced(self, peer: str) -> bool:
        """Ask the history; without it the node is as well down, but nobody says why."""
        try:
            done = self._call("stonith_admin", f"--history={peer}", "--output-as=xml")
            return done.exit_code == 0 and last_fencing(done.stdout, peer)
        except VmMgrError:
            return False

    def _is_known(self, raw: str, resource: str, peer: str, view: View) -> bool:
        """Ask others for their copies: a peer that is online, else as many as make a majority."""
        cib = _parse(raw)
        online = {name for name, _ in _members(cib) if _state_of(cib, name) is Peer.ONLINE}
        others = online - {self._node, peer}
        if view.peer is Peer.ONLINE:
            return self._copy_has(peer, resource, view.stamp)
        # Two nodes alone have no majority without each other: then none is left that could be asked.
        majority = len(list(_members(cib))) // 2 + 1
        needed = min(majority, len(others) + 1) - 1
        for node in sorted(others):
            needed -= needed > 0 and self._copy_has(node, resource, view.stamp)
        return needed <= 0

    def _copy_has(self, node: str, resource: str, stamp: str) -> bool:
        path = _path(resource, stamp)
        argv = ("cibadmin", "--query", "--node", node, "--timeout", str(COPY_S), "--xpath", path)
        try:
            return call(self.runner, argv, timeout_s=COPY_S + 2).exit_code == 0
        except VmMgrError:
            return False

    def _call(self, *argv: str) -> Completed:
        return call(self.runner, argv, timeout_s=LIMIT_S)


def parse_view(raw: str, resource: str, peer: str, here: str) -> View:
    """Read a CIB; raises EXTERNAL_FAILURE for what is none. A constraint of an unknown form allows nobody.

    FENCED here means that the node's status is as fencing leaves it; whether it was that, the history says.
    """
    cib = _parse(raw)
    clone, primitive = _clone(cib, resource)
    constraint = cib.find(f"configuration/constraints/rsc_location[@id='{_id(resource)}']")
    allowed, stamp = _read_constraint(constraint, _id(resource))
    names = {name for name, _ in _members(cib)}
    return View(
        clone=clone if here in names else "",
        quorate=cib.get("have-quorum") == "1",
        peer=_state_of(cib, peer, primitive) if peer and peer != here and peer in names else Peer.STRANGE,
        allowed=allowed,
        stamp=stamp,
    )


def constraint_xml(resource: str, clone: str, node: str, stamp: str, *, role: str = ROLES[0]) -> str:
    """Write the constraint: promoted nowhere but on this node. The stamp is in the id of its rule."""
    ident = _id(resource)
    constraint = ET.Element("rsc_location", {"id": ident, "rsc": clone})
    rule = {"id": f"{ident}-{stamp}", "role": role, "score": "-INFINITY"}
    expression = {"id": f"{ident}-node", "attribute": "#uname", "operation": "ne", "value": node}
    ET.SubElement(ET.SubElement(constraint, "rule", rule), "expression", expression)
    return ET.tostring(constraint, encoding="unicode")


def last_fencing(raw: str, node: str) -> bool:
    """Tell from `stonith_admin --history` whether the last of a node's fencings that have ended succeeded."""
    events = [one for one in _parse(raw).iter("fence_event") if one.get("target") == node]
    ended = [one for one in events if one.get("completed")]
    last = max(ended, key=lambda one: one.get("completed", ""), default=None)
    return last is not None and last.get("status") == "success" and last.get("action") in ("off", "reboot")


def strange_states(raw: str) -> list[str]:
    """Name the nodes whose state in a CIB is written in words or numbers that this module can't read."""
    states = _parse(raw).iterfind("status/node_state")
    unread = [one for one in states if None in (_truth(one, "in_ccm"), _truth(one, "crmd"))]
    return [one.get("uname", "") for one in unread if one.get("remote_node") != "true"]


def _parse(raw: str) -> ET.Element:
    try:
        return ET.fromstring(raw)  # noqa: S314
    except ET.ParseError as error:
        raise VmMgrError(Kind.EXTERNAL_FAILURE, f"Pacemaker's answer is not XML: {error}") from error


def _id(resource: str) -> str:
    if not PLAIN.fullmatch(resource):
        raise VmMgrError(Kind.INVALID, f"a DRBD resource of the name {resource!r} can't be fenced")
    return PREFIX + resource


def _path(resource: str, stamp: str) -> str:
    ident = _id(resource)
    return f"//rsc_location[@id='{ident}' and rule/@id='{ident}-{stamp}']"


def _members(cib: ET.Element) -> Iterator[tuple[str, str]]:
    for one in cib.iterfind("configuration/nodes/node"):
        if one.get("type", "member") in ("member", "normal"):
            yield one.get("uname", ""), one.get("id", "")


def _clone(cib: ET.Element, resource: str) -> tuple[str, str]:
    """Find what runs a DRBD resource: the ids of the outer clone and of its primitive; nothing for none."""
    for tag in ("clone", "master"):
        for clone in cib.iterfind(f"configuration/resources//{tag}"):
            for primitive in clone.iter("primitive"):
                given = {
                    pair.get("name"): pair.get("value")
                    for pair in primitive.iterfind("instance_attributes/nvpair")
                }
                if primitive.get("type") == "drbd" and given.get("drbd_resource") == resource:
                    return clone.get("id", ""), primitive.get("id", "")
    return "", ""


def _read_constraint(constraint: ET.Element | None, ident: str) -> tuple[str, str]:
    if constraint is None:
        return "", ""
    rule, expression = constraint.find("rule"), constraint.find("rule/expression")
    if rule is None or expression is None:
        return "?", ""
    wanted = {"attribute": "#uname", "operation": "ne"}
    if any(expression.get(key) != value for key, value in wanted.items()) or len(rule) != 1:
        return "?", ""
    return expression.get("value", "?"), rule.get("id", "").removeprefix(f"{ident}-")


def _state_of(cib: ET.Element, node: str, primitive: str = "") -> Peer:
    """Judge a node's state as Pacemaker's scheduler does (lib/pengine/unpack.c); when in doubt it is LOST."""
    state = next((one for one in cib.iterfind("status/node_state") if one.get("uname") == node), None)
    if state is None:
        return Peer.LOST  # never seen: Pacemaker fences it
    member, online = _truth(state, "in_ccm"), _truth(state, "crmd")
    words = state.get("join"), state.get("expected")
    if member and online and words == ("member", "member"):
        return Peer.ONLINE
    # Corosync may run there already, or still: what DRBD's resources need is Pacemaker.
    if online is not False or words != ("down", "down"):
        return Peer.LOST
    if len(state) == 0:
        return Peer.FENCED
    return Peer.LEFT if _stopped(state, primitive) else Peer.LOST


def _truth(state: ET.Element, name: str) -> bool | None:
    """Read in_ccm or crmd, of either form; None for what is neither.

    >>> [_truth(ET.Element("state", {"crmd": text}), "crmd") for text in ("1796076254", "0", "offline", "?")]
    [True, False, False, None]
    """
    text = state.get(name, "")
    if text.isascii() and text.isdecimal():
        return int(text) > 0
    return True if text in TRUE else False if text in FALSE else None


def _stopped(state: ET.Element, primitive: str) -> bool:
    """Tell whether DRBD was stopped there at last: in maintenance mode Pacemaker leaves, and DRBD stays."""
    for resource in state.iterfind("lrm/lrm_resources/lrm_resource"):
        if resource.get("id", "").partition(":")[0] != primitive:
            continue
        last = max(resource.iterfind("lrm_rsc_op"), key=_call_id, default=None)
        if last is not None and (last.get("operation"), last.get("rc-code")) not in GONE:
            return False
    return True


def _call_id(op: ET.Element) -> int:
    text = op.get("call-id", "")
    return int(text) if text.isascii() and text.isdecimal() else -1

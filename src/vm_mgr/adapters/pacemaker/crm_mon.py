"""Read crm_mon's XML, of Pacemaker 2.1 and 3.0.

The standard library's parser instead of lxml: it is on the path of `vm-mgr status`, where lxml would cost as
much as crm_mon itself; and the text comes from Pacemaker, not from users.
"""

import xml.etree.ElementTree as ET

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import ClusterState, Failure, Fencing, Node, NodeName, Resource
from vm_mgr.model.node_requirements import ask_of
from vm_mgr.model.numbers import whole_number

__all__ = ["parse_crm_mon", "parse_ruled", "target_role"]

OBSERVER_ATTRIBUTE = "vm-mgr-role"
FULL_ATTRIBUTE = "vm-mgr-full-"  # and the name of a VM; ocf/VirtualDomain tells it
# Followed by a VM's name: a transient attribute of a node on which a second QEMU of the VM was found.
ALARM = "vm-mgr-second-"
INFINITY = "INFINITY"
# What Pacemaker keeps of a reason; the agent marks one that it has cut with three dots.
KEPT_BYTES = 128
# What other resources can be in; a clone's member may be a group.
SETS = ("clone", "group", "bundle")
NOT_RUNNING = ("Stopped", "Starting", "Stopping")
# The last one undoes what others were escaped with.
ESCAPES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&"))
# What roles were called before Pacemaker 2.1.
OLD_ROLES = {"Master": "Promoted", "Slave": "Unpromoted"}
# What the one option is called, up to 3.0 and from then on; what says neither is not known to fence.
FENCING = ("fencing-enabled", "stonith-enabled")


def parse_crm_mon(raw: str) -> ClusterState:
    """Parse the output of `crm_mon -1 --output-as=xml`; raises EXTERNAL_FAILURE for anything else."""
    try:
        root = ET.fromstring(raw)  # noqa: S314
    except ET.ParseError as error:
        raise VmMgrError(Kind.EXTERNAL_FAILURE, f"crm_mon's answer is not XML: {error}") from error
    options = root.find("summary/cluster_options")
    quorum = root.find("summary/current_dc")
    devices = _fence_devices(root)
    return ClusterState(
        nodes=_nodes(root),
        resources=_resources(root),
        quorate=quorum is not None and quorum.get("with_quorum") == "true",
        fencing_enabled=options is not None and _fences(options),
        fence_devices=sum(devices.values()),
        silent_devices=tuple(name for name, works in devices.items() if not works),
        fencings=tuple(map(_fencing, root.iterfind("fence_history/fence_event"))),
        sets={one.get("id", ""): _whole(one) for tag in SETS for one in root.iterfind(f"resources/{tag}")},
        clones={one.get("id", ""): _roles(one) for one in root.iterfind("resources/clone")},
        maintenance=options is not None and _true(options, "maintenance-mode"),
        stop_all=options is not None and _true(options, "stop-all-resources"),
        opt_in=options is not None and options.get("symmetric-cluster") == "false",
    )


def parse_ruled(raw: str) -> frozenset[str]:
    """Name the resources of the location constraints that cibadmin has found, if any.

    Raises EXTERNAL_FAILURE.

    >>> parse_ruled('<xpath-query><rsc_location id="a" rsc="web1"/></xpath-query>')
    frozenset({'web1'})
    """
    try:
        root = ET.fromstring(raw or "<none/>")  # noqa: S314
    except ET.ParseError as error:
        raise VmMgrError(Kind.EXTERNAL_FAILURE, f"cibadmin's answer is not XML: {error}") from error
    return frozenset(one.get("rsc", "") for one in root.iter("rsc_location")) - {""}


def _fences(options: ET.Element) -> bool:
    said = {options.get(name) for name in FENCING} - {None}
    return said == {"true"}


def _nodes(root: ET.Element) -> tuple[Node, ...]:
    observers = {
        node.get("name")
        for node in root.iterfind("node_attributes/node")
        for attribute in node.iterfind("attribute")
        if attribute.get("name") == OBSERVER_ATTRIBUTE and attribute.get("value") == "observer"
    }
    attributes = {str(node.get("name")): _attributes(node) for node in root.iterfind("node_attributes/node")}
    full = {str(node.get("name")): _full(node) for node in root.iterfind("node_attributes/node")}
    alarms = {str(node.get("name")): _alarms(node) for node in root.iterfind("node_attributes/node")}
    return tuple(
        Node(
            name=NodeName(element.get("name", "")),
            online=_true(element, "online"),
            unclean=_true(element, "unclean"),
            standby=_true(element, "standby") or _true(element, "standby_onfail"),
            maintenance=_true(element, "maintenance"),
            pending=_true(element, "pending"),
            observer=element.get("name") in observers,
            shutting_down=_true(element, "shutdown"),
            attributes=attributes.get(element.get("name", ""), {}),
            full=full.get(element.get("name", ""), {}),
            alarms=alarms.get(element.get("name", ""), ()),
        )
        for element in root.iterfind("nodes/node")
        if element.get("type", "member") == "member"
    )


def _attributes(node: ET.Element) -> dict[str, str]:
    told = {ask_of(one.get("name", "")): one.get("value", "") for one in node.iterfind("attribute")}
    return {ask: answer for ask, answer in told.items() if ask}


def _full(node: ET.Element) -> dict[str, int]:
    told = {one.get("name", ""): one.get("value", "") for one in node.iterfind("attribute")}
    return {
        name.removeprefix(FULL_ATTRIBUTE): int(value)
        for name, value in told.items()
        if name.startswith(FULL_ATTRIBUTE) and value.isascii() and value.isdecimal()
    }


def _alarms(node: ET.Element) -> tuple[str, ...]:
    names = [one.get("name", "") for one in node.iterfind("attribute")]
    return tuple(name.removeprefix(ALARM) for name in names if name.startswith(ALARM))


def _resources(root: ET.Element) -> dict[str, Resource]:
    """Give all primitives, wherever they are; of several instances one that runs, with the nodes of all."""
    found = {one.get("id", ""): _resource(one, root) for one in root.iterfind("resources/resource")}
    for outer in (one for tag in SETS for one in root.iterfind(f"resources/{tag}")):
        within = f"{outer.tag} {outer.get('id', '')}"
        members = [one.get("id", "").partition(":")[0] for one in outer.iter("resource")]
        for number, element in enumerate(outer.iter("resource")):
            name = members[number]
            one = _resource(element, root, name)._replace(within=within)
            if outer.tag == "group":
                one = one._replace(followers=tuple(members[number + 1 :]))
            found[name] = _joined(found.get(name), one)
    return found


def _joined(known: Resource | None, instance: Resource) -> Resource:
    if known is None:
        return instance
    first, second = (known, instance) if known.active or not instance.active else (instance, known)
    return first._replace(nodes=tuple(dict.fromkeys((*first.nodes, *second.nodes))))


def _resource(element: ET.Element, root: ET.Element, name: str = "") -> Resource:
    name = name or element.get("id", "")
    failures = _failures(name, root)
    return Resource(
        name=name,
        agent=element.get("resource_agent", "").replace("::", ":"),
        role=element.get("role", "Stopped"),
        target_role=target_role(element.get("target_role", "")),
        active=_true(element, "active"),
        failed=_true(element, "failed"),
        blocked=_true(element, "blocked"),
        managed=element.get("managed") != "false",
        pending=element.get("pending", "") or ("Migrating" if _is_on_its_way(name, root) else ""),
        nodes=_places(element, failures),
        banned_by_failures=_banned(name, root),
        failures=failures,
    )


def target_role(text: str) -> str:
    """Give the role in which Pacemaker wants a VM, which knows no case; what makes no sense it ignores.

    >>> [target_role(text) for text in ("stopped", "STARTED", "Slave", "Promoted", "paused", "")]
    ['Stopped', 'Started', 'Started', 'Started', 'Started', '']
    """
    if not text:
        return ""
    return "Stopped" if text.lower() == "stopped" else "Started"


def _places(element: ET.Element, failures: tuple[Failure, ...]) -> tuple[NodeName, ...]:
    """Name the nodes, the source of a failed live migration first: Pacemaker lists its target too."""
    nodes = [NodeName(node.get("name", "")) for node in element.iterfind("node")]
    sources = {failure.node for failure in failures if failure.task == "migrate_to"}
    return tuple(sorted(nodes, key=lambda node: node not in sources))


def _whole(element: ET.Element) -> frozenset[NodeName]:
    """Name the nodes where each part of a clone or group that is a resource runs."""
    places: dict[str, set[NodeName]] = {}
    for one in element.iter("resource"):
        there = places.setdefault(one.get("id", "").partition(":")[0], set())
        if one.get("role") not in NOT_RUNNING and _true(one, "active"):
            there |= {NodeName(node.get("name", "")) for node in one.iterfind("node")}
    return frozenset(set.intersection(*places.values()) if places else ())


def _roles(clone: ET.Element) -> dict[NodeName, str]:
    """Give the role of the instance on each node where one runs; of a cloned group its last member's."""
    return {
        NodeName(node.get("name", "")): OLD_ROLES.get(role, role)
        for one in clone.iter("resource")
        if (role := one.get("role", "Stopped")) not in NOT_RUNNING and _true(one, "active")
        for node in one.iterfind("node")
    }


def _banned(name: str, root: ET.Element) -> tuple[NodeName, ...]:
    return tuple(
        NodeName(node.get("name", ""))
        for node in root.iterfind("node_history/node")
        for history in node.iterfind("resource_history")
        if history.get("id") == name and _is_barred(history)
    )


def _is_barred(history: ET.Element) -> bool:
    """Judge as Pacemaker does (pcmk__threshold_reached): a threshold of 0 never bars."""
    threshold = _score(history.get("migration-threshold", INFINITY))
    return 0 < threshold <= _score(history.get("fail-count", "0"))


def _score(text: str) -> int:
    text = text.replace(INFINITY, "1000000")
    return whole_number(text) or 0


def _is_on_its_way(name: str, root: ET.Element) -> bool:
    """Tell whether a live migration has left a node and is not finished.

    Between the tasks migrate_to and migrate_from no task may be under way, and Pacemaker calls the resource
    Started on the target. Yet without a migrate_from it restarts it, should the target not be the best node
    any more. What ends a migration is the task stop at the node that it has left.
    """
    for history in root.iterfind("node_history/node/resource_history"):
        if history.get("id") == name:
            last = max(history.iterfind("operation_history"), key=_call, default=None)
            if last is not None and (last.get("task"), last.get("rc")) == ("migrate_to", "0"):
                return True
    return False


def _call(operation: ET.Element) -> int:
    number = whole_number(operation.get("call"))
    return -1 if number is None else number


def _failures(name: str, root: ET.Element) -> tuple[Failure, ...]:
    found = []
    for failure in root.iterfind("failures/failure"):
        task = failure.get("task", "operation")
        # op_key is NAME_TASK_INTERVAL, and tasks have underscores too: migrate_to.
        key, _, interval = failure.get("op_key", "").rpartition("_")
        if key == f"{name}_{task}":
            reason = _unescaped(failure.get("exitreason", "")) or failure.get("exitstatus") or "failed"
            # From 2.1.6 on Pacemaker drops the reasons of these (pcmk__create_history_xml).
            if task in ("migrate_to", "migrate_from") and not failure.get("exitreason"):
                reason += f" (why: vm-mgr events {name})"
            elif len(reason.encode()) >= KEPT_BYTES - 3:
                reason += f" (whole: vm-mgr events {name})"
            reason = reason.removeprefix(f"{task}: ")
            text = f"{task} on {failure.get('node', '?')}: {reason}"
            when, node = failure.get("last-rc-change", ""), failure.get("node", "")
            found.append(Failure(text, when, task, node, whole_number(interval) or 0))
    return tuple(found)


def _unescaped(text: str) -> str:
    """Undo escapes that Pacemaker adds once more each time it hands a reason on.

    >>> _unescaped("via &amp;lt;memory&amp;gt;"), _unescaped("a & b")
    ('via <memory>', 'a & b')
    """
    before = ""
    while before != text:
        before = text
        for escape, letter in ESCAPES:
            text = text.replace(escape, letter)
    return text


def _fencing(element: ET.Element) -> Fencing:
    return Fencing(
        NodeName(element.get("target", "")),
        succeeded=element.get("status") == "success",
        completed=element.get("completed", ""),
        action=element.get("action", ""),
        delegate=element.get("delegate", ""),
    )


def _fence_devices(root: ET.Element) -> dict[str, bool]:
    """Tell of each fence device whether it works; of a clone one instance will do."""
    found: dict[str, bool] = {}
    for element in root.iter("resource"):
        if element.get("resource_agent", "").startswith("stonith:"):
            name = element.get("id", "").partition(":")[0]
            found[name] = found.get(name, False) or _works(element, _failures(name, root))
    return found


def _works(device: ET.Element, failures: tuple[Failure, ...]) -> bool:
    """Take one that is being started for one that works, unless it is tried once more after a failure."""
    if "Starting" in (device.get("role"), device.get("pending")):
        return not failures
    return device.get("role") not in NOT_RUNNING and not _true(device, "failed")


def _true(element: ET.Element, attribute: str) -> bool:
    return element.get(attribute) == "true"

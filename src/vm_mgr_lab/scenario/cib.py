"""The CIB of a simulated cluster: what our roles configure, and what the nodes tell of themselves."""

from collections.abc import Mapping
from typing import Any

import jinja2
import yaml
from lxml import etree

from vm_mgr.adapters.pacemaker.cib_xml import detach
from vm_mgr_lab.paths import CHECKOUT

__all__ = [
    "INFINITY",
    "cancel",
    "count",
    "date",
    "fail_monitor",
    "forget",
    "forget_counts",
    "forget_failures",
    "fresh_cib",
    "join",
    "leave",
    "running",
    "set_attributes",
    "set_option",
]

ROLES = CHECKOUT / "deploy" / "roles"
# Old enough for every Pacemaker that we support: a tool refuses what is newer than itself.
EMPTY = (
    '<cib crm_feature_set="3.2.0" validate-with="pacemaker-3.5" admin_epoch="0" epoch="1" num_updates="0"'
    ' have-quorum="1" dc-uuid="1"><configuration><crm_config/><nodes/><resources/><constraints/>'
    "</configuration><status/></cib>"
)
KEPT = ("fail-count-", "last-failure-")
INFINITY = "INFINITY"
RUNS = ("start", "monitor", "migrate_from")
OPTIONS = "configuration/crm_config/cluster_property_set"


def fresh_cib(nodes: tuple[str, ...]) -> str:
    """Give the configuration that the roles pacemaker and fencing write, of a cluster that is online."""
    cib = etree.fromstring(EMPTY)
    configuration = cib.find("configuration")
    assert configuration is not None  # noqa: S101 - it stands above
    for role in ("pacemaker", "fencing"):
        for section in _rendered(role, nodes):
            present = configuration.find(section.tag)
            if present is None:
                configuration.append(section)
            else:
                present.extend(list(section))
    for node in nodes:
        join(cib, node)
    return etree.tostring(cib, encoding="unicode")


def _rendered(role: str, nodes: tuple[str, ...]) -> etree._Element:
    folder = ROLES / role
    settings: dict[str, Any] = yaml.safe_load((folder / "defaults" / "main.yml").read_text())
    environment = jinja2.Environment(trim_blocks=True, autoescape=False)  # noqa: S701 - as Ansible does
    for name, value in settings.get("pacemaker_properties", {}).items():
        settings["pacemaker_properties"][name] = environment.from_string(value).render(settings)
    machines = {node: {"bmc_address": f"192.0.2.10{number}"} for number, node in enumerate(nodes)}
    given = {
        **settings,
        "cluster_nodes": nodes,
        "groups": {},
        "hostvars": {node: {**machine, "bmc_user": "admin"} for node, machine in machines.items()},
    }
    text = (folder / "templates" / "configuration.xml.j2").read_text()
    parser = etree.XMLParser(remove_comments=True, remove_blank_text=True)
    return etree.fromstring(environment.from_string(text).render(given), parser)


def _state(cib: etree._Element, node: str) -> etree._Element:
    status = cib.find("status")
    assert status is not None  # noqa: S101 - every CIB has one
    for one in status.iterfind("node_state"):
        if one.get("uname") == node:
            return one
    number = next(
        str(one.get("id")) for one in cib.iterfind("configuration/nodes/node") if one.get("uname") == node
    )
    return etree.SubElement(status, "node_state", id=number, uname=node)


def join(cib: etree._Element, node: str) -> bool:
    """Let a node be a member, with an empty history as after a boot; False where it is one."""
    state = _state(cib, node)
    if state.get("crmd") == "online":
        return False
    for element in list(state):
        state.remove(element)
    state.attrib.update({"in_ccm": "true", "crmd": "online", "join": "member", "expected": "member"})
    etree.SubElement(etree.SubElement(state, "lrm", id=str(state.get("id"))), "lrm_resources")
    return True


def leave(cib: etree._Element, node: str, *, in_order: bool) -> bool:
    """Let a node be lost, or leave in good order; False where it is no member."""
    state = _state(cib, node)
    if state.get("crmd") != "online":
        return False
    state.attrib.update({"in_ccm": "false", "crmd": "offline", "join": "down"})
    if in_order:
        state.set("expected", "down")
        for element in state.findall("transient_attributes"):
            state.remove(element)
    return True


def set_attributes(cib: etree._Element, node: str, told: Mapping[str, str]) -> None:
    """Have a node's transient attributes say this, and nothing else but what Pacemaker keeps there."""
    owner = _attributes(_state(cib, node))
    for pair in list(owner):
        if not str(pair.get("name")).startswith(KEPT):
            owner.remove(pair)
    for name, value in sorted(told.items()):
        etree.SubElement(owner, "nvpair", id=f"{owner.get('id')}-{name}", name=name, value=value)


def set_option(cib: etree._Element, name: str, value: str) -> None:
    """Set an option of the cluster."""
    options = cib.find(OPTIONS)
    assert options is not None  # noqa: S101 - the role writes it
    for pair in options.iterfind("nvpair"):
        if pair.get("name") == name:
            pair.set("value", value)
            return
    etree.SubElement(options, "nvpair", id=f"{options.get('id')}-{name}", name=name, value=value)


def running(cib: etree._Element, node: str) -> set[str]:
    """Name the VMs that a member runs for all that its history says."""
    found = set()
    for resource in _state(cib, node).iterfind("lrm/lrm_resources/lrm_resource[@type='VirtualDomain']"):
        last = max(resource, key=lambda one: int(one.get("call-id", "0")), default=None)
        if last is not None and last.get("rc-code") == "0" and last.get("operation") in RUNS:
            found.add(str(resource.get("id")))
    return found


def forget(cib: etree._Element, node: str, resource: str) -> None:
    """Delete a resource's history on a node."""
    for owner in _state(cib, node).iterfind("lrm/lrm_resources"):
        for one in owner.findall(f"lrm_resource[@id='{resource}']"):
            owner.remove(one)


def cancel(cib: etree._Element, node: str, resource: str) -> None:
    """Delete from a resource's history what was to be repeated."""
    for one in _state(cib, node).findall(f"lrm/lrm_resources/lrm_resource[@id='{resource}']/lrm_rsc_op"):
        if one.get("interval") != "0" and not str(one.get("id")).endswith("_last_failure_0"):
            detach(one)


def forget_counts(cib: etree._Element, node: str, name: str) -> None:
    """Forget how often a VM has failed on a node."""
    owner = _attributes(_state(cib, node))
    counts = tuple(f"{kind}{name}#" for kind in KEPT)
    for pair in [one for one in owner if str(one.get("name")).startswith(counts)]:
        owner.remove(pair)


def forget_failures(cib: etree._Element, name: str) -> None:
    """Do what a cleanup does: history and counts go, and all nodes are looked at anew."""
    for state in cib.iterfind("status/node_state"):
        forget_counts(cib, str(state.get("uname")), name)
        forget(cib, str(state.get("uname")), name)


def fail_monitor(cib: etree._Element, node: str, name: str, status: int, now_utc: float) -> None:
    """Record that a VM's monitor has ended with a status, as the controller of the node does."""
    state, ident = _state(cib, node), f"{name}_last_failure_0"
    history = state.findall(f"lrm/lrm_resources/lrm_resource[@id='{name}']/lrm_rsc_op")
    for older in [one for one in history if one.get("id") == ident]:
        detach(older)
    monitors = [one for one in history if one.get("interval") != "0" and one.get("id") != ident]
    if not monitors:
        return  # it is not monitored yet
    latest = max(int(one.get("call-id", "0")) for one in history)
    magic = str(monitors[0].get("transition-magic")).partition(";")[2]
    monitors[0].set("id", ident)
    monitors[0].set("rc-code", str(status))
    monitors[0].set("transition-magic", f"0:{status};{magic}")
    monitors[0].set("call-id", str(latest + 1))
    monitors[0].set("last-rc-change", f"{now_utc:.0f}")
    which = f"{name}#{monitors[0].get('operation')}_{monitors[0].get('interval')}"
    past = _transient(state).get(f"fail-count-{which}", "0")
    count(cib, node, which, past if past == INFINITY else str(int(past) + 1), now_utc)


def count(cib: etree._Element, node: str, which: str, failures: str, now_utc: float) -> None:
    """Keep how often an operation, as web1#start_0, has failed on a node."""
    owner = _attributes(_state(cib, node))
    for name, value in {f"fail-count-{which}": failures, f"last-failure-{which}": f"{now_utc:.0f}"}.items():
        for pair in [one for one in owner if one.get("name") == name]:
            owner.remove(pair)
        etree.SubElement(owner, "nvpair", id=f"{owner.get('id')}-{name}", name=name, value=value)


def _attributes(state: etree._Element) -> etree._Element:
    """Give a node's transient attributes, which are made where there are none."""
    ident = str(state.get("id"))
    attributes = state.find("transient_attributes")
    if attributes is None:
        attributes = etree.SubElement(state, "transient_attributes", id=ident)
    owner = attributes.find("instance_attributes")
    return (
        etree.SubElement(attributes, "instance_attributes", id=f"status-{ident}") if owner is None else owner
    )


def _transient(state: etree._Element) -> dict[str, str]:
    return {str(pair.get("name")): str(pair.get("value")) for pair in _attributes(state)}


def date(cib: etree._Element, *, older_than: float, now_utc: float) -> None:
    """Give what crm_simulate has dated by the host's clock the date of the virtual one."""
    for operation in cib.iterfind("status/node_state/lrm/lrm_resources/lrm_resource/lrm_rsc_op"):
        if float(operation.get("last-rc-change", older_than)) < older_than:
            operation.set("last-rc-change", f"{now_utc:.0f}")
    for pair in cib.iterfind("status/node_state/transient_attributes/instance_attributes/nvpair"):
        if str(pair.get("name")).startswith("last-failure-") and float(str(pair.get("value"))) < older_than:
            pair.set("value", f"{now_utc:.0f}")

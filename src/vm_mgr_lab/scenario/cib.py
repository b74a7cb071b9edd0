"""The CIB of a simulated cluster: what our roles configure, and what the nodes tell of themselves."""

from collections.abc import Mapping
from typing import Any

import jinja2
import yaml
from lxml import etree

from vm_mgr_lab.paths import CHECKOUT

__all__ = ["forget_failures", "fresh_cib", "join", "leave", "running", "set_attributes", "set_option"]

ROLES = CHECKOUT / "deploy" / "roles"
# Old enough for every Pacemaker that we support: a tool refuses what is newer than itself.
EMPTY = (
    '<cib crm_feature_set="3.2.0" validate-with="pacemaker-3.5" admin_epoch="0" epoch="1" num_updates="0"'
    ' have-quorum="1" dc-uuid="1"><configuration><crm_config/><nodes/><resources/><constraints/>'
    "</configuration><status/></cib>"
)
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
    state = _state(cib, node)
    ident = f"status-{state.get('id')}"
    attributes = state.find("transient_attributes")
    if attributes is None:
        attributes = etree.SubElement(state, "transient_attributes", id=str(state.get("id")))
    owner = attributes.find("instance_attributes")
    if owner is None:
        owner = etree.SubElement(attributes, "instance_attributes", id=ident)
    for pair in list(owner):
        if not str(pair.get("name")).startswith(("fail-count-", "last-failure-")):
            owner.remove(pair)
    for name, value in sorted(told.items()):
        etree.SubElement(owner, "nvpair", id=f"{ident}-{name}", name=name, value=value)


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
        last = max(
            resource.iterfind("lrm_rsc_op"), key=lambda one: int(one.get("call-id", "0")), default=None
        )
        ends = (
            last is not None
            and last.get("operation") in ("stop", "migrate_to")
            and last.get("rc-code") == "0"
        )
        if last is not None and not ends and last.get("rc-code") != "7":
            found.add(str(resource.get("id")))
    return found


def forget_failures(cib: etree._Element, name: str, *, here: Mapping[str, bool]) -> None:
    """Do what a cleanup does once the nodes were looked at: the history says what is; here: node → runs."""
    counts = (f"fail-count-{name}#", f"last-failure-{name}#")
    for owner in cib.iterfind("status/node_state/transient_attributes/instance_attributes"):
        for pair in [one for one in owner if str(one.get("name")).startswith(counts)]:
            owner.remove(pair)
    for state in cib.iterfind("status/node_state"):
        for resource in state.iterfind(f"lrm/lrm_resources/lrm_resource[@id='{name}']"):
            for operation in list(resource):
                resource.remove(operation)
            runs = here.get(str(state.get("uname")), False)
            key = f"{name}_monitor_0"
            etree.SubElement(
                resource,
                "lrm_rsc_op",
                {
                    "id": f"{name}_last_0",
                    "operation_key": key,
                    "operation": "monitor",
                    "call-id": "1",
                    "rc-code": "0" if runs else "7",
                    "op-status": "0",
                    "interval": "0",
                    "transition-key": "1:1:7:00000000-0000-4000-8000-000000000000",
                    "transition-magic": f"0:{0 if runs else 7};1:1:7:00000000-0000-4000-8000-000000000000",
                },
            )

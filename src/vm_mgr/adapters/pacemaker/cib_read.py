"""Read from the CIB's XML what is configured for a VM and what was done to it.

The status section has times in seconds since 1970; crm_mon prints them in a time zone that it doesn't name.
"""

import re
from collections.abc import Iterator
from typing import Any

from lxml import etree

from vm_mgr.adapters.pacemaker.cib_write import COLOCATION, LEVEL, PLACEMENT
from vm_mgr.adapters.pacemaker.disk_resources import read_dependencies, read_disks
from vm_mgr.adapters.pacemaker.moves import HIBERNATION, MOVE
from vm_mgr.adapters.pacemaker.preference import comes_back
from vm_mgr.adapters.pacemaker.requirements import read_rules
from vm_mgr.adapters.pacemaker.times import seconds
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.health_checks import LEVELS, SHORTEST_S
from vm_mgr.model.numbers import whole_number
from vm_mgr.model.vm import TargetRole, VmName
from vm_mgr.ports.cluster import Configured, Constraint, ResourceOperation, VmResource

__all__ = ["leftover_moves", "read_configured", "read_constraint"]


def read_configured(cib: etree._Element, name: VmName) -> Configured:
    """Gather everything that names the VM."""
    return Configured(
        vm=_read_vm(cib, name),
        named_by=_named_by(cib, name),
        others=tuple(read_constraint(element) for element in _naming(cib, name) if not _is_settings(element)),
        events=tuple(_events(cib, name)),
    )


def leftover_moves(cib: etree._Element, name: VmName) -> list[etree._Element]:
    """Find what `vm-mgr migrate`, `crm_resource --move` and `--ban`, and the shells above them, leave.

    crm_resource calls its constraints cli-prefer-NAME and cli-ban-NAME-on-NODE, older ones cli-standby-NAME.
    """
    found = _find(cib, "configuration/constraints/rsc_location[@rsc=$name]", name=name)
    return [one for one in found if _is_leftover(one)]


def read_constraint(element: etree._Element) -> Constraint:
    """Describe a constraint in one line."""
    return Constraint(str(element.get("id", "")), _text(element), leftover=_is_leftover(element))


def _is_leftover(element: etree._Element) -> bool:
    return element.tag == "rsc_location" and str(element.get("id", "")).startswith(("cli-", MOVE))


def _is_settings(element: etree._Element) -> bool:
    """Tell what says the same as the settings of this VM or of another one; a move's constraint does not."""
    return str(element.get("id", "")).startswith(PLACEMENT)


def _naming(cib: etree._Element, name: VmName) -> list[etree._Element]:
    ends = "@rsc=$name or @with-rsc=$name or @first=$name or @then=$name or .//resource_ref/@id=$name"
    return _find(cib, f"configuration/constraints/*[{ends}]", name=name)


def _text(element: etree._Element) -> str:
    score = element.get("score") or element.get("score-attribute") or element.get("kind") or ""
    kind = str(element.tag).removeprefix("rsc_")
    named = [str(element.get(word)) for word in ("first", "then", "with-rsc", "node") if element.get(word)]
    if kind == "colocation" and element.get("rsc"):
        named.insert(0, str(element.get("rsc")))
    named += [str(one.get("id")) for one in element.iter("resource_ref")]
    for rule in element.iter("rule"):
        score = score or str(rule.get("score", ""))
        for one in rule.iter("expression"):
            named.append(" ".join(filter(None, map(one.get, ("attribute", "operation", "value")))))
        for date in rule.iter("date_expression"):
            named.append(f"until {date.get('end')}" if date.get("end") else "at times")
    return " ".join(filter(None, (kind, ", ".join(named), f"({score})" if score else "")))


def _read_vm(cib: etree._Element, name: VmName) -> VmResource | None:
    for primitive in _find(cib, "configuration/resources//primitive[@id=$name]", name=name):
        return _vm(cib, primitive, name)
    return None


def _vm(cib: etree._Element, primitive: etree._Element, name: VmName) -> VmResource:
    meta = _pairs(primitive, "meta_attributes")
    timeouts = {
        str(op.get("name")): _seconds(str(op.get("timeout", ""))) for op in _find(primitive, "operations/op")
    }
    plain = VmResource(name, TargetRole.STARTED)
    requirements, follow_uplink = read_rules(cib, name)
    role = meta.get("target-role", "Started").capitalize()
    extra = _find(primitive, "operations/op[@name='stop']//nvpair[@name=$name]", name=HIBERNATION)
    extra_s = _number(str(extra[0].get("value"))) if extra else 0
    return plain._replace(
        target_role=TargetRole.STOPPED if role == "Stopped" else TargetRole.STARTED,
        live_migration=meta.get("allow-migrate", "").lower() in ("true", "yes", "on", "1", "y"),
        priority=_number(meta.get("priority", "")),
        start_timeout_s=max((timeouts.get("start") or plain.start_timeout_s) - extra_s, 1),
        stop_timeout_s=max((timeouts.get("stop") or plain.stop_timeout_s) - extra_s, 1),
        migrate_to_timeout_s=timeouts.get("migrate_to") or plain.migrate_to_timeout_s,
        migrate_from_timeout_s=timeouts.get("migrate_from") or plain.migrate_from_timeout_s,
        pinned_host=_host(cib, name, "vm-mgr-pin-"),
        preferred_host=_host(cib, name, "vm-mgr-prefer-"),
        returns=comes_back(_score(cib, name, "vm-mgr-prefer-"), meta),
        depends_on=read_dependencies(cib, name),
        disks=read_disks(cib, name),
        checks=_checks(primitive),
        requirements=requirements,
        follow_uplink=follow_uplink,
        hibernation_s=extra_s,
        params=_pairs(primitive, "instance_attributes"),
        meta={key: value for key, value in meta.items() if not key.startswith(COLOCATION)},
        utilization=_pairs(primitive, "utilization"),
        colocations={
            key.removeprefix(COLOCATION): value for key, value in meta.items() if key.startswith(COLOCATION)
        },
    )


def _checks(primitive: etree._Element) -> dict[str, int]:
    """Read the deeper checks, in the order of their depths, whoever has written them."""
    found = {}
    for op in _find(primitive, "operations/op[@name='monitor']"):
        level = next((pair.get("value") for pair in op.iter("nvpair") if pair.get("name") == LEVEL), "")
        found[level] = _seconds(str(op.get("interval", "")))
    return {name: found[str(level)] or SHORTEST_S for name, level in LEVELS.items() if str(level) in found}


def _named_by(cib: etree._Element, name: VmName) -> dict[str, str]:
    path = "configuration/resources//primitive[meta_attributes/nvpair/@name=$name]"
    return {
        str(primitive.get("id")): _pairs(primitive, "meta_attributes")[COLOCATION + name]
        for primitive in _find(cib, path, name=COLOCATION + name)
    }


def _events(cib: etree._Element, name: VmName) -> Iterator[ResourceOperation]:
    path = "status/node_state/lrm/lrm_resources/lrm_resource[@id=$name]/lrm_rsc_op[@rc-code='0']"
    for op in _find(cib, path, name=name):
        node = next(op.iterancestors("node_state"))
        when = whole_number(op.get("last-rc-change"))
        if when is not None:
            yield ResourceOperation(
                str(op.get("operation", "")), NodeName(str(node.get("uname", ""))), float(when)
            )


def _host(cib: etree._Element, name: VmName, prefix: str) -> NodeName | None:
    return next((NodeName(str(one.get("node"))) for one in _places(cib, name, prefix)), None)


def _score(cib: etree._Element, name: VmName, prefix: str) -> str:
    return next((str(one.get("score", "")) for one in _places(cib, name, prefix)), "")


def _places(cib: etree._Element, name: VmName, prefix: str) -> list[etree._Element]:
    found = _find(cib, "configuration/constraints/rsc_location[@rsc=$name][@node]", name=name)
    return [one for one in found if str(one.get("id", "")).startswith(prefix)]


def _pairs(primitive: etree._Element, tag: str) -> dict[str, str]:
    """Read what holds at any time."""
    pairs = _find(primitive, f"{tag}[not(rule)]/nvpair")
    return {str(pair.get("name")): str(pair.get("value", "")) for pair in pairs}


def _seconds(text: str) -> int | None:
    found = seconds(text)
    return None if found is None else round(found)


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,9}", text) else 0


def _find(element: etree._Element, path: str, name: str = "") -> list[etree._Element]:
    found: Any = element.xpath(path, name=name)
    return list(found)

"""Read from the CIB's XML what is configured for a VM and what was done to it.

The status section has times in seconds since 1970; crm_mon prints them in a time zone that it doesn't name.
"""

from collections.abc import Iterator
from datetime import datetime

from lxml import etree

from vm_mgr.adapters.pacemaker.cib_foreign import set_by_others
from vm_mgr.adapters.pacemaker.cib_resolve import (
    aliases,
    local_now,
    meta_attributes,
    naming,
    op_attribute,
    operations,
    own_attributes,
    patterns,
    score,
)
from vm_mgr.adapters.pacemaker.cib_write import COLOCATION, LEVEL, PLACEMENT
from vm_mgr.adapters.pacemaker.cib_xml import PRIMITIVE
from vm_mgr.adapters.pacemaker.cib_xml import find as _find
from vm_mgr.adapters.pacemaker.crm_mon import OLD_ROLES, target_role
from vm_mgr.adapters.pacemaker.disk_resources import read_dependencies, read_disks
from vm_mgr.adapters.pacemaker.moves import HIBERNATION, MOVE
from vm_mgr.adapters.pacemaker.preference import comes_back
from vm_mgr.adapters.pacemaker.requirements import read_rules
from vm_mgr.adapters.pacemaker.times import seconds
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.health_checks import LEVELS, SHORTEST_S
from vm_mgr.model.numbers import whole_number
from vm_mgr.model.vm import TargetRole, VmName
from vm_mgr.ports.cluster import PATTERN, Configured, Constraint, ResourceOperation, VmResource

__all__ = ["leftover_moves", "read_configured", "read_constraint"]


def read_configured(cib: etree._Element, name: VmName, now: datetime | None = None) -> Configured:
    """Gather everything that names the VM; now: by which time rules are judged."""
    now = now or local_now()
    vm = _read_vm(cib, name, now)
    return Configured(
        vm=vm,
        named_by=_named_by(cib, name),
        others=tuple(_others(cib, name)),
        events=tuple(_events(cib, name)),
        set_by_others=_set_by_others(cib, vm, now) if vm is not None else {},
    )


def leftover_moves(cib: etree._Element, name: VmName) -> list[etree._Element]:
    """Find what `vm-mgr migrate`, `crm_resource --move` and `--ban`, and the shells above them, leave.

    crm_resource calls its constraints cli-prefer-NAME and cli-ban-NAME-on-NODE, older ones cli-standby-NAME.
    """
    found = _find(cib, "configuration/constraints/rsc_location[@rsc=$name]", name=name)
    return [one for one in found if _is_leftover(one)]


def read_constraint(element: etree._Element) -> Constraint:
    """Describe a constraint in one line."""
    kind = str(element.tag).removeprefix("rsc_")
    return Constraint(str(element.get("id", "")), _text(element), leftover=_is_leftover(element), kind=kind)


def _is_leftover(element: etree._Element) -> bool:
    return element.tag == "rsc_location" and str(element.get("id", "")).startswith(("cli-", MOVE))


def _is_settings(element: etree._Element) -> bool:
    """Tell what says the same as the settings of this VM or of another one; a move's constraint does not."""
    return str(element.get("id", "")).startswith(PLACEMENT)


def _others(cib: etree._Element, name: VmName) -> Iterator[Constraint]:
    """Give what names a VM: constraints, also of its group, clone, tag or template, and these themselves."""
    for element in naming(cib, name):
        if not _is_settings(element):
            yield read_constraint(element)
    yield from _by_pattern(cib, name)
    for alias, what in aliases(cib, name).items():
        if what != "template":
            yield Constraint(alias, f"{what} {', '.join(_members(cib, alias))}", kind=what)
        for element in naming(cib, alias):
            if not _is_settings(element):
                one = read_constraint(element)
                yield one._replace(text=f"{one.text} by the {what} {alias}", leftover=False)
        yield from _by_pattern(cib, alias)


def _by_pattern(cib: etree._Element, name: str) -> Iterator[Constraint]:
    """Give those of others; ours, for observers, is about all that is not of vm-mgr itself."""
    for element, sure in patterns(cib, name):
        one = read_constraint(element)
        if not one.id.startswith("vm-mgr-"):
            which = f"the pattern {element.get('rsc-pattern')}{'' if sure else ', which may match'}"
            yield one._replace(text=f"{one.text} by {which}", leftover=False, kind=PATTERN)


def _members(cib: etree._Element, name: str) -> list[str]:
    """Name what is in a tag, group or clone."""
    inside = "configuration/tags/tag[@id=$name]/obj_ref | configuration/resources//*[@id=$name]//primitive"
    return [str(one.get("id")) for one in _find(cib, inside, name=name)]


def _text(element: etree._Element) -> str:
    score = element.get("score") or element.get("score-attribute") or element.get("kind") or ""
    kind = str(element.tag).removeprefix("rsc_")
    named = [str(element.get(word)) for word in ("first", "then", "with-rsc", "node") if element.get(word)]
    if element.get("ticket"):
        named.insert(0, str(element.get("ticket")))
        score = score or str(element.get("loss-policy", "stop"))
    roles = {
        _role(str(element.get(word))) for word in ("role", "rsc-role", "with-rsc-role") if element.get(word)
    }
    named += [f"as {role}" for role in sorted(roles - {"Started"})]
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


def _role(text: str) -> str:
    """Give a role in today's words, however it is spelled.

    >>> [_role(text) for text in ("slave", "MASTER", "started")]
    ['Unpromoted', 'Promoted', 'Started']
    """
    word = text.capitalize()
    return OLD_ROLES.get(word, word)


def _read_vm(cib: etree._Element, name: VmName, now: datetime) -> VmResource | None:
    for primitive in _find(cib, PRIMITIVE, name=name):
        return _vm(cib, primitive, name, now)
    return None


def _set_by_others(cib: etree._Element, vm: VmResource, now: datetime) -> dict[str, str]:
    return set_by_others(_find(cib, PRIMITIVE, name=vm.name)[0], vm, now)


def _vm(cib: etree._Element, primitive: etree._Element, name: VmName, now: datetime) -> VmResource:
    meta, own = meta_attributes(primitive, now), own_attributes(primitive, "meta_attributes", now)
    ops = operations(primitive)
    timeouts = {
        str(op.get("name")): _seconds(op_attribute(primitive, op, "timeout", now))
        for op in ops
        if op.get("name") != "monitor"
    }
    plain = VmResource(name, TargetRole.STARTED)
    requirements, follow_uplink = read_rules(cib, name)
    extra = [_number(op_attribute(primitive, op, HIBERNATION, now)) for op in ops if op.get("name") == "stop"]
    extra_s = extra[0] if extra else 0
    return plain._replace(
        target_role=TargetRole(target_role(meta.get("target-role", "")) or "Started"),
        live_migration=meta.get("allow-migrate", "").lower() in ("true", "yes", "on", "1", "y"),
        priority=_number(meta.get("priority", "")),
        start_timeout_s=max((timeouts.get("start") or plain.start_timeout_s) - extra_s, 1),
        stop_timeout_s=max((timeouts.get("stop") or plain.stop_timeout_s) - extra_s, 1),
        migrate_to_timeout_s=timeouts.get("migrate_to") or plain.migrate_to_timeout_s,
        migrate_from_timeout_s=timeouts.get("migrate_from") or plain.migrate_from_timeout_s,
        pinned_host=_host(cib, name, "vm-mgr-pin-"),
        preferred_host=_host(cib, name, "vm-mgr-prefer-"),
        returns=comes_back(_score(cib, name, "vm-mgr-prefer-"), own),
        depends_on=read_dependencies(cib, name),
        disks=read_disks(cib, name),
        checks=_checks(ops),
        requirements=requirements,
        follow_uplink=follow_uplink,
        hibernation_s=extra_s,
        params=own_attributes(primitive, "instance_attributes", now),
        meta={key: value for key, value in own.items() if not key.startswith(COLOCATION)},
        utilization=own_attributes(primitive, "utilization", now),
        colocations={
            key.removeprefix(COLOCATION): value for key, value in own.items() if key.startswith(COLOCATION)
        },
    )


def _checks(ops: list[etree._Element]) -> dict[str, int]:
    """Read the deeper checks, in the order of their depths, whoever has written them."""
    found = {}
    for op in (one for one in ops if one.get("name") == "monitor"):
        level = next((pair.get("value") for pair in op.iter("nvpair") if pair.get("name") == LEVEL), "")
        found[level] = _seconds(str(op.get("interval", "")))
    return {name: found[str(level)] or SHORTEST_S for name, level in LEVELS.items() if str(level) in found}


def _named_by(cib: etree._Element, name: VmName) -> dict[str, str]:
    path = "configuration/resources//primitive[meta_attributes/nvpair/@name=$name]"
    found = {}
    for primitive in _find(cib, path, name=COLOCATION + name):
        pair = _find(primitive, "meta_attributes/nvpair[@name=$name]", name=COLOCATION + name)[0]
        found[str(primitive.get("id"))] = str(pair.get("value", ""))
    return found


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


def _seconds(text: str) -> int | None:
    found = seconds(text)
    return None if found is None else round(found)


def _number(text: str) -> int:
    return score(text) if text else 0

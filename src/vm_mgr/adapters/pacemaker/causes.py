"""Find the rules of a CIB that keep the scheduler from something: those without which it would do it.

Nothing is worked out here that Pacemaker knows better: each rule or option that may be a cause is left out of
a copy of the CIB, and the scheduler is asked again. So rules with dates, roles, references and defaults count
as the scheduler reads them.
"""

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from lxml import etree

from vm_mgr.adapters.pacemaker.cib_read import read_constraint
from vm_mgr.adapters.pacemaker.cib_resolve import aliases
from vm_mgr.adapters.pacemaker.cib_write import COLOCATION
from vm_mgr.adapters.pacemaker.cib_xml import PRIMITIVE, detach, find
from vm_mgr.adapters.pacemaker.disk_resources import NEEDS
from vm_mgr.adapters.pacemaker.moves import MOVE
from vm_mgr.adapters.pacemaker.requirements import FALSE, FITNESS
from vm_mgr.model.failback import STICKINESS
from vm_mgr.ports.cluster import Cause

__all__ = ["causes_of", "contradiction", "linked", "option", "set_option"]

# Each costs a call of the scheduler.
MOST = 24
OURS_NEEDED = (NEEDS, "vm-mgr-after-")
CONSTRAINT = "configuration/constraints/*[@id=$name]"
OPTION = "configuration/crm_config//nvpair[@name=$name]"
STICKY = (
    f"{PRIMITIVE}//nvpair[@name='{STICKINESS}'] | configuration/rsc_defaults//nvpair[@name='{STICKINESS}']"
)
FAILURES = "status/node_state/transient_attributes//nvpair[starts-with(@name, $name)]"
PARENTS = f"{PRIMITIVE}/ancestor::*/meta_attributes/nvpair[@name='target-role']"
AWAY = ("standby", "maintenance")
OF_NODE = (
    "configuration/nodes/node[@uname=$name]//nvpair[@name='{0}'] | "
    "status/node_state[@uname=$name]/transient_attributes//nvpair[@name='{0}']"
)
# Option → what it is without effect, what else it means, and what to do.
OPTIONS = {
    "symmetric-cluster": (
        "true",
        "the cluster is opt-in (symmetric-cluster=false) and no rule opens a node to it",
        "open one: vm-mgr set {name} --preferred-host NODE",
    ),
    "placement-strategy": (
        "default",
        "no node has enough left of what it uses (utilization)",
        "see what is left: crm_simulate --live-check --show-utilization",
    ),
    "node-health-strategy": (
        "none",
        "the nodes that are left are not healthy (node-health-strategy)",
        "see why: crm_mon -1 -A",
    ),
}


class _Factor(NamedTuple):
    """Something that may be a cause, and what takes it out of a CIB."""

    cause: Cause
    leave_out: Callable[[etree._Element], None]


def causes_of(
    cib: etree._Element, name: str, does_it: Callable[[etree._Element], bool], running: Collection[str] = ()
) -> tuple[Cause, ...]:
    """Give each rule without which the scheduler would do it; else the fewest that have to go together.

    does_it asks the scheduler; running: the resources that run. Nothing where no rule is the cause.
    """
    factors = list(_factors(cib, name, running))[:MOST]
    alone = [one for one in factors if does_it(_without(cib, [one]))]
    return tuple(dict.fromkeys(one.cause for one in alone or _fewest(cib, factors, does_it)))


def linked(cib: etree._Element, name: str) -> set[str]:
    """Name the resources that rules without exception tie to one, directly or by others; it is among them."""
    return set(_paths([*_ties(cib, apart=False), *_ties(cib, apart=True)], name))


def contradiction(cib: etree._Element, name: str) -> tuple[Cause, ...]:
    """Give rules that keep a VM, or who is tied to it, both together with another resource and apart from it.

    The scheduler does not refuse them: it breaks such a loop where it likes, and moves VMs to and fro.
    """
    paths = _paths(_ties(cib, apart=False), name)
    for one in _ties(cib, apart=True):
        first, then = _ends(one)
        if first in paths and then in paths:
            rules = {str(rule.get("id")): rule for rule in (one, *paths[first], *paths[then])}
            return tuple(_cause(rule, ident, name, paths) for ident, rule in rules.items())
    return ()


def _ties(cib: etree._Element, *, apart: bool) -> list[etree._Element]:
    ties = find(cib, "configuration/constraints/rsc_colocation[@rsc and @with-rsc]")
    wanted = ("-INFINITY",) if apart else ("INFINITY", "+INFINITY")
    return [one for one in ties if one.get("score") in wanted]


def _ends(tie: etree._Element) -> tuple[str, str]:
    return str(tie.get("rsc")), str(tie.get("with-rsc"))


def _paths(ties: Sequence[etree._Element], name: str) -> dict[str, tuple[etree._Element, ...]]:
    """Give who is tied to a resource, directly or by others, and by which rules."""
    found: dict[str, tuple[etree._Element, ...]] = {name: ()}
    grows = True
    while grows:
        grows = False
        for tie in ties:
            for here, there in (_ends(tie), _ends(tie)[::-1]):
                if here in found and there not in found:
                    found[there], grows = (*found[here], tie), True
    return found


def option(cib: etree._Element, name: str) -> str:
    """Give an option of the cluster; empty for the default."""
    return next((str(one.get("value", "")) for one in find(cib, OPTION, name=name)), "")


def set_option(cib: etree._Element, name: str, value: str) -> None:
    """Change an option of the cluster where it is set."""
    for one in find(cib, OPTION, name=name):
        one.set("value", value)


def _fewest(
    cib: etree._Element, factors: Sequence[_Factor], does_it: Callable[[etree._Element], bool]
) -> list[_Factor]:
    """Leave out all, and put back one by one what can stay."""
    if len(factors) < 2 or not does_it(_without(cib, factors)):
        return []
    left = list(factors)
    for one in factors:
        fewer = [other for other in left if other is not one]
        if does_it(_without(cib, fewer)):
            left = fewer
    return left


def _without(cib: etree._Element, factors: Sequence[_Factor]) -> etree._Element:
    changed = copy.deepcopy(cib)
    for one in factors:
        one.leave_out(changed)
    return changed


def _remove(path: str, name: str, cib: etree._Element) -> None:
    for element in find(cib, path, name=name):
        detach(element)


def _set(name: str, value: str, cib: etree._Element) -> None:
    set_option(cib, name, value)


def _factors(cib: etree._Element, name: str, running: Collection[str]) -> Iterator[_Factor]:
    for key, (usual, text, hint) in OPTIONS.items():
        if option(cib, key) not in ("", usual):
            yield _Factor(Cause(text, hint.format(name=name)), partial(_set, key, usual))
    yield from _constraints(cib, name, running)
    if find(cib, PARENTS, name=name):
        parent = find(cib, PRIMITIVE, name=name)[0].getparent()
        ident = "" if parent is None else str(parent.get("id"))
        cause = Cause(
            f"its {ident} is to be stopped", f"start it: crm_resource --meta -r {ident} -d target-role"
        )
        yield _Factor(cause, partial(_remove, PARENTS, name))
    if any(str(one.get("value")) != "0" for one in find(cib, STICKY, name=name)):
        cause = Cause(f"its {STICKINESS} has it stay where it runs", f"see it: vm-mgr show {name}")
        yield _Factor(cause, partial(_remove, STICKY, name))
    counts = f"fail-count-{name}#"
    if find(cib, FAILURES, name=counts):
        cause = Cause("it has failed too often where it could run", f"forget that: vm-mgr start {name}")
        yield _Factor(cause, partial(_remove, FAILURES, counts))
    yield from _nodes(cib)


def _nodes(cib: etree._Element) -> Iterator[_Factor]:
    for node in find(cib, "configuration/nodes/node"):
        uname = str(node.get("uname"))
        for word in AWAY:
            path = OF_NODE.format(word)
            found = [one for one in find(cib, path, name=uname) if _is_set(one)]
            if found:
                # A drain's standby, and what else ends with a reboot, is in the status.
                passing = " -l reboot" if any(found[0].iterancestors("status")) else ""
                end = f"end it: crm_attribute --node {uname} --name {word} --delete{passing}"
                yield _Factor(Cause(f"{uname} is in {word}", end), partial(_remove, path, uname))


def _is_set(pair: etree._Element) -> bool:
    return str(pair.get("value", "")).lower() not in ("", *FALSE)


def _constraints(cib: etree._Element, name: str, running: Collection[str]) -> Iterator[_Factor]:
    names = _names(cib, name)
    for element in find(cib, "configuration/constraints/*"):
        ident = str(element.get("id", ""))
        if not ident.startswith((MOVE, *FITNESS)) and _refers(element, names):
            cause = _cause(element, ident, name, running)
            yield _Factor(cause, partial(_remove, CONSTRAINT, ident))


def _names(cib: etree._Element, name: str) -> set[str]:
    """Give the ids by which constraints may mean a resource: its own, its groups', its tags' and template."""
    found = {name, *aliases(cib, name)}
    tags = find(cib, "configuration/tags/tag")
    return found | {str(tag.get("id")) for tag in tags for one in tag if one.get("id") in found}


def _refers(element: etree._Element, names: set[str]) -> bool:
    ends = {element.get(end) for end in ("rsc", "with-rsc", "first", "then")}
    ends |= {one.get("id") for one in element.iter("resource_ref")}
    return bool(ends & names) or element.get("rsc-pattern") is not None


def _cause(element: etree._Element, ident: str, name: str, running: Collection[str]) -> Cause:
    """Say what a constraint means for a VM, and what takes it back."""
    first, then = element.get("rsc") or element.get("then"), element.get("with-rsc") or element.get("first")
    if element.tag == "rsc_ticket":
        ticket = str(element.get("ticket"))
        return Cause(
            f"the ticket {ticket} is not granted here", f"see it: crm_ticket --ticket {ticket} --info"
        )
    if then and ident.startswith(OURS_NEEDED):
        return Cause(f"it needs {then}, which does not run where it could", "see why: crm_mon -1")
    if element.tag == "rsc_order" and then:
        stopped = "" if then in running else ", which does not run"
        return Cause(f"it starts only after {then}{stopped}", f"see the rule {ident}: vm-mgr show {name}")
    if element.tag == "rsc_colocation" and first and then:
        apart = str(element.get("score", "")).startswith("-")
        how = "kept apart from" if apart else "kept together with"
        stopped = "" if apart or then in running or first != name else ", which does not run"
        undo = f"end that: vm-mgr remove-colocation {first} {then}"
        hint = undo if ident.startswith(COLOCATION) else f"see the rule {ident}: vm-mgr show {name}"
        return Cause(f"{first} is {how} {then}{stopped}", hint)
    if ident.startswith("vm-mgr-pin-"):
        return Cause(f"{name} is pinned to {element.get('node')}", f"vm-mgr set {name} --unset pinned-host")
    told = read_constraint(element)
    undo = f"remove it: vm-mgr unmigrate {name}" if told.leftover else f"see it: vm-mgr show {name}"
    return Cause(f"the rule {ident} says so ({told.text})", undo)

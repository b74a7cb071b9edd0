"""Edit the CIB's XML.

Ids that we make are vm-mgr-KIND-NAME and vm-mgr-KIND-NAME..REST: no kind has a dash, no name has "..". What
is ours is found by the name that its attributes refer to and the kind in its id, never by taking ids apart.
"""

from lxml import etree

from vm_mgr.adapters.pacemaker.cib_kept import (
    forget,
    forget_changed,
    keep,
    rename_kept,
    restore_constraints,
    restore_primitive,
)
from vm_mgr.adapters.pacemaker.cib_own import (
    has_foreign,
    own_pairs,
    write_operations,
    write_pairs,
    write_role,
)
from vm_mgr.adapters.pacemaker.cib_resolve import COLLECTIVES, agent, local_now, own_attributes
from vm_mgr.adapters.pacemaker.cib_xml import (
    PRIMITIVE,
    bump_version,
    detach,
    find,
    nvset,
    operation,
    our_id,
    ours,
    pair_id,
    parse_cib,
    section,
)
from vm_mgr.adapters.pacemaker.disk_resources import (
    NEEDS,
    remove_disks,
    rename_disks,
    write_dependencies,
    write_disks,
)
from vm_mgr.adapters.pacemaker.moves import block_on_failure, hibernate
from vm_mgr.adapters.pacemaker.preference import score_of, staying
from vm_mgr.adapters.pacemaker.requirements import FITNESS, add_rules
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.failback import STICKINESS
from vm_mgr.model.health_checks import LEVELS, interval_ms
from vm_mgr.model.vm import TargetRole, VmName
from vm_mgr.ports.cluster import VmResource

__all__ = [
    "add_vm",
    "bump_version",
    "parse_cib",
    "primitive_of",
    "remove_constraints",
    "remove_vm",
    "rename_vm",
    "set_target_role",
    "update_vm",
]

COLOCATION = "vm-mgr-colocation-"
LEVEL = "OCF_CHECK_LEVEL"
KINDS = (
    *("meta", "params", "utilization", "op", "check", "pin", "prefer", "needs", "after", "move"),
    *("hold", "restart", "terms", "hibernation"),
    *("fits", "uplink"),
)
PLACEMENT = ("vm-mgr-pin-", "vm-mgr-prefer-", NEEDS, "vm-mgr-after-", COLOCATION, *FITNESS)
AGENT = {"class": "ocf", "provider": "vm-mgr", "type": "VirtualDomain"}
_KINDS = "self::primitive or self::group or self::clone or self::master or self::bundle"
_RESOURCE = f"configuration/resources//*[@id=$name][{_KINDS}]"
_SETS = ("rsc_location", "rsc_colocation", "rsc_order", "rsc_ticket")
_REFERENCE = ".//resource_ref[@id=$name] | ../tags//obj_ref[@id=$name]"


def add_vm(cib: etree._Element, vm: VmResource) -> None:
    """Add the primitive and its placement, after removing what the name had, with what was kept for it."""
    _refuse_other(cib, vm.name)
    for present in find(cib, PRIMITIVE, name=vm.name):
        _refuse_part(present)
        keep(cib, present, None)
    _remove_vm(cib, vm.name)
    write_disks(cib, vm.name, vm.disks)
    primitive = primitive_of(vm)
    section(cib, "resources").append(primitive)
    restore_primitive(cib, primitive)
    _place(cib, primitive, vm)
    restore_constraints(cib, vm.name)


def update_vm(cib: etree._Element, vm: VmResource, before: VmResource | None = None) -> None:
    """Change what may change while the VM runs: meta attributes, utilization, timeouts, placement.

    before: how it was to be run before; only what differs is written. Without it all is that is ours.
    """
    if not find(cib, PRIMITIVE, name=vm.name):
        forget_changed(cib, vm.name, primitive_of(vm), None if before is None else primitive_of(before))
    for primitive in find(cib, PRIMITIVE, name=vm.name):
        for tag, pairs in _pairs(vm).items():
            stays = (
                {STICKINESS} if has_foreign(primitive, tag, STICKINESS) and STICKINESS not in vm.meta else ()
            )
            past = own_pairs(primitive, tag) if before is None else _pairs(before)[tag]
            changes = {key: pairs.get(key) for key in (*pairs, *past) if key not in stays}
            changes.pop("target-role", None)
            write_pairs(primitive, tag, {key: text for key, text in changes.items() if past.get(key) != text})
        write_operations(primitive, _operations(vm), None if before is None else _operations(before))
        for constraint in find(section(cib, "constraints"), "*[@rsc=$name or @then=$name]", name=vm.name):
            if str(constraint.get("id", "")).startswith(PLACEMENT):
                detach(constraint)
        write_disks(cib, vm.name, vm.disks)
        _place(cib, primitive, vm)


def primitive_of(vm: VmResource) -> etree._Element:
    """Make the primitive that we write for a VM of which nobody else has said anything."""
    primitive = etree.Element("primitive", {"id": vm.name, **AGENT})
    if vm.params:
        nvset(primitive, "instance_attributes", our_id("params", vm.name), vm.params)
    for tag, pairs in _pairs(vm).items():
        if pairs:
            nvset(primitive, tag, our_id(tag.partition("_")[0], vm.name), pairs)
    primitive.append(_operations(vm))
    return primitive


def _pairs(vm: VmResource) -> dict[str, dict[str, str]]:
    own = {"allow-migrate": "true" if vm.live_migration else "false", "priority": str(vm.priority)}
    meta = {
        **own,
        **staying(vm),
        **vm.meta,
        **own,
        "target-role": vm.target_role.value,
        **{COLOCATION + other: score for other, score in vm.colocations.items()},
    }
    return {"meta_attributes": meta, "utilization": dict(vm.utilization)}


def _place(cib: etree._Element, primitive: etree._Element, vm: VmResource) -> None:
    constraints = section(cib, "constraints")
    if has_foreign(primitive, "meta_attributes", STICKINESS):
        own = own_attributes(primitive, "meta_attributes", local_now())
        vm = vm._replace(meta={**vm.meta, STICKINESS: own[STICKINESS]})
    if vm.pinned_host:
        pin = _location(constraints, our_id("pin", vm.name), vm.name, vm.pinned_host, "INFINITY")
        pin.set("resource-discovery", "exclusive")
    elif vm.preferred_host:
        _location(constraints, our_id("prefer", vm.name), vm.name, vm.preferred_host, score_of(vm))
    write_dependencies(cib, vm.name, vm.depends_on)
    add_rules(constraints, vm.name, vm.requirements, follow_uplink=vm.follow_uplink)
    _colocate(cib)


def _colocate(cib: etree._Element) -> None:
    """Write the colocations whose both ends are there.

    A constraint can't name a resource that is absent, so each VM also keeps its own as meta attributes, which
    Pacemaker ignores: when the other end comes back, so does the constraint.
    """
    constraints = section(cib, "constraints")
    kept = "configuration/resources//primitive/meta_attributes/nvpair[starts-with(@name, $name)]"
    for pair in find(cib, kept, name=COLOCATION):
        attributes = pair.getparent()
        primitive = None if attributes is None else attributes.getparent()
        name = "" if primitive is None else str(primitive.get("id"))
        other = str(pair.get("name")).removeprefix(COLOCATION)
        present = [(one.get("rsc"), one.get("with-rsc")) for one in ours(constraints, COLOCATION)]
        if other != name and (name, other) not in present and find(cib, _RESOURCE, name=other):
            ends = {"id": our_id("colocation", name, other), "rsc": name, "with-rsc": other}
            etree.SubElement(constraints, "rsc_colocation", {**ends, "score": str(pair.get("value"))})


def remove_vm(cib: etree._Element, name: VmName, expected: VmResource | None = None) -> None:
    """Remove the primitive, its disks, and everything that refers to them.

    expected: how the VM is to be run; what others have set beyond it is kept for add_vm, else forgotten.
    Raises WRONG_STATE where it would break the group that the VM is in, or what refers to its parts.
    """
    for primitive in find(cib, PRIMITIVE, name=name):
        _refuse_part(primitive)
        if expected is not None:
            keep(cib, primitive, primitive_of(expected))
    if expected is None:
        forget(cib, name)
    _remove_vm(cib, name)
    remove_disks(cib, name)


def _remove_vm(cib: etree._Element, name: VmName) -> None:
    constraints = section(cib, "constraints")
    named = "*[@rsc=$name or @with-rsc=$name or @first=$name or @then=$name]"
    for element in find(constraints, named, name=name):
        detach(element)
    for reference in find(constraints, _REFERENCE, name=name):
        _detach_with_empty_parents(reference, ("resource_set", *_SETS, "tag", "tags"))
    for primitive in find(cib, PRIMITIVE, name=name):
        _detach_with_empty_parents(primitive, ("group", "clone"))


def remove_constraints(constraints: list[etree._Element]) -> None:
    """Take them out of their CIB."""
    for element in constraints:
        detach(element)


def rename_vm(cib: etree._Element, name: VmName, new: VmName) -> None:
    """Rename the primitive, its disks, what refers to them, and the ids that we made from its name."""
    constraints = section(cib, "constraints")
    rename_disks(cib, name, new)
    for primitive in find(cib, PRIMITIVE, name=name):
        _refuse_other(cib, new)
        primitive.set("id", new)
        _rename_ids(primitive, name, new)
    for attribute in ("rsc", "with-rsc", "first", "then"):
        for element in find(constraints, f"*[@{attribute}=$name]", name=name):
            element.set(attribute, new)
            _rename_ids(element, name, new)
    for element in find(constraints, "rsc_colocation[@rsc=$name or @with-rsc=$name]", name=new):
        if str(element.get("id")).startswith(COLOCATION):
            element.set("id", our_id("colocation", str(element.get("rsc")), str(element.get("with-rsc"))))
    for reference in find(constraints, _REFERENCE, name=name):
        reference.set("id", new)
    for permission in find(cib, "configuration/acls//acl_permission[@reference=$name]", name=name):
        permission.set("reference", new)
    for pair in find(cib, "configuration/resources//nvpair[@name=$name]", name=COLOCATION + name):
        _rename_wish(pair, new)
    rename_kept(cib, name, new)
    _colocate(cib)


def _refuse_other(cib: etree._Element, name: VmName) -> None:
    """Refuse an id that something else has, for example a resource inside a group, which is no VM."""
    for element in find(
        cib, "configuration//*[@id=$name][not(self::resource_ref or self::obj_ref)]", name=name
    ):
        if element.tag != "primitive" or not agent(element).endswith(f":{AGENT['type']}"):
            message = f"the cluster's configuration has a {element.tag} {name} already"
            raise VmMgrError(Kind.EXISTS, message, hint="choose another name for the VM")


def _rename_ids(top: etree._Element, name: VmName, new: VmName) -> None:
    users = find(top, "//*[@id-ref]")
    for element in top.iter(etree.Element):
        for kind in KINDS:
            was, ident = our_id(kind, name), str(element.get("id", ""))
            if ident == was or ident.startswith(f"{was}.."):
                element.set("id", our_id(kind, new) + ident.removeprefix(was))
                for user in (one for one in users if one.get("id-ref") == ident):
                    user.set("id-ref", str(element.get("id")))


def _rename_wish(pair: etree._Element, new: VmName) -> None:
    """Name the other end anew, in place of what was wished for an absent VM of this name."""
    attributes = pair.getparent()
    assert attributes is not None  # noqa: S101 - it was found below another element
    for older in find(attributes, "nvpair[@name=$name]", name=COLOCATION + new):
        detach(older)
    owner = str(attributes.get("id", ""))
    pair.set("name", COLOCATION + new)
    pair.set("id", pair_id(owner, COLOCATION + new))


def set_target_role(cib: etree._Element, name: VmName, role: TargetRole) -> None:
    """Set the meta attribute target-role where it holds for this VM, and for no other one."""
    for primitive in find(cib, PRIMITIVE, name=name):
        write_role(primitive, role)


def _refuse_part(primitive: etree._Element) -> None:
    name, parent = primitive.get("id"), primitive.getparent()
    if parent is not None and parent.tag in COLLECTIVES:
        message = f"{name} can't leave the cluster: it is in the {parent.tag} {parent.get('id')}"
        raise VmMgrError(Kind.WRONG_STATE, message, hint="take it out of that first, with crm or pcs")
    inner = {str(one.get("id")) for one in primitive.iter(etree.Element)}
    for user in find(primitive, "//*[@id-ref or @reference]"):
        if (
            str(user.get("id-ref") or user.get("reference")) in inner
            and primitive not in user.iterancestors()
        ):
            owner = next((one.get("id") for one in (user, *user.iterancestors()) if one.get("id")), "")
            message = f"{name} can't leave the cluster: {owner} refers to a part of its configuration"
            raise VmMgrError(
                Kind.WRONG_STATE, message, hint=f"give that its own first: crm configure edit {owner}"
            )


def _operations(vm: VmResource) -> etree._Element:
    operations = etree.Element("operations")
    timeouts = {
        "start": vm.start_timeout_s + vm.hibernation_s,
        "stop": vm.stop_timeout_s + vm.hibernation_s,
        "migrate_to": vm.migrate_to_timeout_s,
        "migrate_from": vm.migrate_from_timeout_s,
    }
    for action, timeout_s in timeouts.items():
        added = operation(operations, our_id("op", vm.name, action), action, "0s", timeout_s)
        if action == "migrate_to":
            block_on_failure(added, vm.name)
        if action == "stop" and vm.hibernation_s:
            hibernate(added, vm.name, vm.hibernation_s)
    monitor = our_id("op", vm.name, "monitor")
    operation(operations, monitor, "monitor", f"{vm.monitor_interval_s}s", vm.monitor_timeout_s)
    for check, interval_s in vm.checks.items():
        ident, interval = our_id("op", vm.name, f"monitor-{check}"), f"{interval_ms(check, interval_s)}ms"
        deeper = operation(operations, ident, "monitor", interval, vm.check_timeout_s)
        nvset(deeper, "instance_attributes", our_id("check", vm.name, check), {LEVEL: str(LEVELS[check])})
    return operations


def _location(parent: etree._Element, ident: str, name: str, node: str, score: str) -> etree._Element:
    return etree.SubElement(parent, "rsc_location", id=ident, rsc=name, node=node, score=score)


def _detach_with_empty_parents(element: etree._Element, tags: tuple[str, ...]) -> None:
    """Remove an element, then the parents of these tags that have no element of that kind left."""
    kind = element.tag
    parent = detach(element)
    while parent is not None and parent.tag in tags and parent.find(kind) is None:
        kind = parent.tag
        parent = detach(parent)

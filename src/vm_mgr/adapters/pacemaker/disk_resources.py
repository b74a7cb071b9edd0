"""Write and read what the CIB has for a VM's disks, and what the VM depends on.

All ids of a disk begin with its own, vm-mgr-disk-NAME..PART: those of one VM are found and renamed by that.
"""

from lxml import etree

from vm_mgr.adapters.pacemaker.cib_xml import detach, find, nvset, operation, our_id, ours, section
from vm_mgr.adapters.pacemaker.times import seconds
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.resource import Clone, Dependency, DiskResource, Role, disk_id, renamed_id
from vm_mgr.model.vm import VmName

__all__ = [
    "NEEDS",
    "read_dependencies",
    "read_disks",
    "remove_disks",
    "rename_disks",
    "write_dependencies",
    "write_disks",
]

NEEDS = "vm-mgr-needs-"
MONITOR_S = 20
ENDS = ("rsc", "with-rsc", "first", "then")
# Both actions of a promotable clone need an interval of their own.
ROLES = {"Promoted": MONITOR_S - 1, "Unpromoted": MONITOR_S}


def write_disks(cib: etree._Element, name: VmName, disks: tuple[DiskResource, ...]) -> None:
    """Add the disks that are missing, and remove those that are not wanted any more.

    One that is there stays as it is: Pacemaker restarts it, and with it the VM, for another parameter.
    """
    wanted = {disk.id for disk in disks}
    _remove(cib, [one for one in _present(cib, name) if one.get("id") not in wanted])
    present = {one.get("id") for one in _present(cib, name)}
    for disk in disks:
        if disk.id not in present:
            _add(cib, disk)


def remove_disks(cib: etree._Element, name: VmName) -> None:
    """Remove all disks of a VM, and the constraints that name them."""
    _remove(cib, _present(cib, name))


def rename_disks(cib: etree._Element, name: VmName, new: VmName) -> None:
    """Rename the disks of a VM wherever the configuration names them."""
    for top in [*_present(cib, name), *section(cib, "constraints")]:
        for element in top.iter(etree.Element):
            for key in ("id", *ENDS):
                if element.get(key):
                    element.set(key, renamed_id(str(element.get(key)), name, new))


def read_disks(cib: etree._Element, name: VmName) -> tuple[DiskResource, ...]:
    """Read the disks of a VM."""
    return tuple(_read(cib, one) for one in _present(cib, name))


def write_dependencies(cib: etree._Element, name: VmName, depends_on: tuple[Dependency, ...]) -> None:
    """Let a VM run only where resources have their roles, and after they have got them."""
    constraints = section(cib, "constraints")
    for number, one in enumerate(depends_on):
        rest = str(number) if number else ""
        beside = {"id": our_id("needs", name, rest), "rsc": name, "with-rsc": one.on, "score": "INFINITY"}
        after = {"id": our_id("after", name, rest), "first": one.on, "then": name, "kind": "Mandatory"}
        if one.role is Role.PROMOTED:
            beside["with-rsc-role"] = one.role.value
            after |= {"first-action": "promote", "then-action": "start"}
        etree.SubElement(constraints, "rsc_colocation", beside)
        etree.SubElement(constraints, "rsc_order", after)


def read_dependencies(cib: etree._Element, name: VmName) -> tuple[Dependency, ...]:
    """Read what a VM depends on; of a role both spellings, that of before Pacemaker 2.1 too."""
    found = find(cib, "configuration/constraints/rsc_colocation[@rsc=$name]", name=name)
    return tuple(
        Dependency(
            str(one.get("with-rsc")),
            Role.PROMOTED if one.get("with-rsc-role") in ("Promoted", "Master") else Role.STARTED,
        )
        for one in found
        if str(one.get("id", "")).startswith(NEEDS)
    )


def _present(cib: etree._Element, name: VmName) -> list[etree._Element]:
    return ours(section(cib, "resources"), disk_id(name, ""))


def _remove(cib: etree._Element, elements: list[etree._Element]) -> None:
    for element in elements:
        for end in ENDS:
            for constraint in find(
                section(cib, "constraints"), f"*[@{end}=$name]", name=str(element.get("id"))
            ):
                detach(constraint)
        detach(element)


def _add(cib: etree._Element, disk: DiskResource) -> None:
    owner, ident = section(cib, "resources"), disk.id
    if disk.clone:
        owner, ident = etree.SubElement(owner, "clone", id=disk.id), f"{disk.id}..instance"
    standard, provider, kind = disk.agent.split(":")
    agent = {"id": ident, "class": standard, "provider": provider, "type": kind}
    primitive = etree.SubElement(owner, "primitive", agent)
    if disk.params:
        nvset(primitive, "instance_attributes", f"{disk.id}..params", disk.params)
    _operations(etree.SubElement(primitive, "operations"), disk)
    meta = {**disk.meta, **({"promotable": "true"} if disk.clone is Clone.PROMOTABLE else {})}
    if meta:
        nvset(owner if disk.clone else primitive, "meta_attributes", f"{disk.id}..meta", meta)
    if disk.nodes:
        _keep_on(section(cib, "constraints"), disk)


def _operations(parent: etree._Element, disk: DiskResource) -> None:
    default_s = disk.timeouts_s.get("monitor", MONITOR_S)
    for action, timeout_s in disk.timeouts_s.items():
        if action != "monitor":
            operation(parent, f"{disk.id}..op..{action}", action, "0s", timeout_s)
    if disk.clone is not Clone.PROMOTABLE:
        operation(parent, f"{disk.id}..op..monitor", "monitor", f"{MONITOR_S}s", default_s)
        return
    for role, interval_s in ROLES.items():
        ident = f"{disk.id}..op..monitor-{role}"
        operation(parent, ident, "monitor", f"{interval_s}s", default_s).set("role", role)


def _keep_on(constraints: etree._Element, disk: DiskResource) -> None:
    """Keep it off all nodes that have no data of it."""
    location = etree.SubElement(constraints, "rsc_location", id=f"{disk.id}..nodes", rsc=disk.id)
    rule = {"id": f"{disk.id}..nodes..rule", "score": "-INFINITY", "boolean-op": "and"}
    parent = etree.SubElement(location, "rule", rule)
    for number, node in enumerate(disk.nodes):
        other = {"attribute": "#uname", "operation": "ne", "value": node}
        etree.SubElement(parent, "expression", {"id": f"{disk.id}..nodes..{number}", **other})


def _read(cib: etree._Element, element: etree._Element) -> DiskResource:
    ident, cloned = str(element.get("id")), element.tag == "clone"
    primitive = element.find("primitive") if cloned else element
    assert primitive is not None  # noqa: S101 - the schema wants one in a clone, and we put it there
    meta = _pairs(element, "meta_attributes[not(rule)]")  # what a move has added ends with it
    meta.pop("target-role", None)
    promotable = cloned and meta.pop("promotable", "") == "true"
    timeouts_s = {
        str(op.get("name")): round(seconds(str(op.get("timeout", ""))) or 0)
        for op in find(primitive, "operations/op")
    }
    if timeouts_s.get("monitor") == MONITOR_S:
        del timeouts_s["monitor"]
    kept = find(cib, "configuration/constraints/rsc_location[@id=$name]//expression", name=f"{ident}..nodes")
    return DiskResource(
        ident,
        ":".join(str(primitive.get(key)) for key in ("class", "provider", "type")),
        params=_pairs(primitive, "instance_attributes"),
        clone=(Clone.PROMOTABLE if promotable else Clone.PLAIN) if cloned else None,
        meta=meta,
        timeouts_s=timeouts_s,
        nodes=tuple(NodeName(str(one.get("value"))) for one in kept),
    )


def _pairs(element: etree._Element, tag: str) -> dict[str, str]:
    return {str(pair.get("name")): str(pair.get("value", "")) for pair in find(element, f"{tag}/nvpair")}

"""Find what others have set for a VM beyond its settings: attributes and operations of its primitive."""

from collections.abc import Iterator
from datetime import datetime

from lxml import etree

from vm_mgr.adapters.pacemaker.cib_kept import PASSING
from vm_mgr.adapters.pacemaker.cib_own import LASTING, own_pairs
from vm_mgr.adapters.pacemaker.cib_resolve import agent, own_attributes
from vm_mgr.adapters.pacemaker.cib_write import COLOCATION, primitive_of
from vm_mgr.adapters.pacemaker.cib_xml import find
from vm_mgr.adapters.pacemaker.times import seconds
from vm_mgr.model.cluster import OWN_AGENT
from vm_mgr.model.vm import TargetRole
from vm_mgr.ports.cluster import VmResource

__all__ = ["set_by_others"]

# What is read as the VM's own, whoever has set it.
READ = ("allow-migrate", "priority", "target-role")
TAGS = {"meta_attributes": "", "utilization": "utilization ", "instance_attributes": "parameter "}


def set_by_others(primitive: etree._Element, vm: VmResource, now: datetime) -> dict[str, str]:
    """Give name → value; vm is the primitive as it was read.

    Where another tool's agent runs it, parameters and operations are that agent's, and are left out.
    """
    is_ours = agent(primitive) == OWN_AGENT
    found = {}
    for tag, word in TAGS.items():
        if not is_ours and tag == "instance_attributes":
            continue
        ours = own_pairs(primitive, tag)
        for key, value in own_attributes(primitive, tag, now).items():
            if ours.get(key) != value and key not in READ and not key.startswith(COLOCATION):
                found[word + key] = value
    return found | dict(_operations(primitive, vm)) if is_ours else found


def _operations(primitive: etree._Element, vm: VmResource) -> Iterator[tuple[str, str]]:
    """Compare with those that we write; the timeouts of stop and migrate_to are settings, and not judged."""
    plain = VmResource(vm.name, TargetRole.STARTED)
    usual = vm._replace(
        start_timeout_s=plain.start_timeout_s, migrate_from_timeout_s=plain.migrate_from_timeout_s
    )
    ours = {one.get("id"): one for one in find(primitive_of(usual), "operations/op")}
    for op in find(primitive, "operations/op"):
        name, twin = str(op.get("name")), ours.get(op.get("id"))
        if twin is None:
            given = [f"{key}={op.get(key)}" for key in ("interval", "timeout") if op.get(key)]
            yield f"operation {name}", " ".join(given)
            continue
        for key in sorted({*map(str, op.keys()), *map(str, twin.keys())} - {"id", "name"}):
            if not _is_same(op.get(key), twin.get(key)):
                yield f"{name} {key}", str(op.get(key))
        for pair in op.iter("nvpair"):
            home = pair.getparent()
            if home is not None and not str(home.get("id", "")).startswith((*LASTING, *PASSING)):
                yield f"{name} {pair.get('name')}", str(pair.get("value", ""))


def _is_same(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return one is other
    return one == other or (seconds(one) is not None and seconds(one) == seconds(other))

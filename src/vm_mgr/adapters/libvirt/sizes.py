"""Read and set a domain's memory and vCPUs (https://libvirt.org/formatdomain.html#memory-allocation)."""

from lxml import etree

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.numbers import whole_number

__all__ = ["memory_bytes", "set_memory", "set_vcpus", "vcpus"]


def vcpus(root: etree._Element) -> int:
    """Read how many the guest starts with."""
    vcpu = root.find("vcpu")
    count = "1" if vcpu is None else vcpu.get("current") or vcpu.text or "1"
    return whole_number(str(count).strip()) or 1


def memory_bytes(root: etree._Element) -> int:
    """Read what the guest has; libvirt counts in KiB where no unit is given."""
    memory = root.find("memory")
    count = None if memory is None else whole_number((memory.text or "").strip())
    if memory is None or count is None:
        return 0
    unit = str(memory.get("unit", "KiB"))
    power: int = "kmgtpe".find(unit[:1].lower()) + 1
    if unit in ("b", "bytes"):
        return count
    # KB is 1000 bytes; k and KiB are 1024.
    factor: int = (1000 if unit.endswith("B") and "i" not in unit else 1024) ** power
    return count * factor


def set_memory(root: etree._Element, size_bytes: int) -> None:
    """Set what the guest has, and what it starts with (https://libvirt.org/formatdomain.html#memory-allocation)."""
    if root.find("cpu/numa") is not None:
        raise _contradiction(root, "its NUMA cells say how much memory it has")
    limit = root.find("maxMemory")
    if limit is not None and _bytes(limit) < size_bytes:
        raise _contradiction(root, f"its <maxMemory> is {_bytes(limit)} bytes")
    memory, current = root.find("memory"), root.find("currentMemory")
    if memory is None:
        memory = etree.SubElement(root, "memory")
    for element in (memory, current):
        if element is not None:
            element.set("unit", "KiB")
            element.text = str(-(-size_bytes // 1024))


def set_vcpus(root: etree._Element, number: int) -> None:
    """Set how many there are, all of them in use from the start."""
    topology = root.find("cpu/topology")
    if topology is not None and _product(topology) != number:
        raise _contradiction(root, f"its CPU topology makes {_product(topology)} vCPUs")
    if root.find("cpu/numa") is not None or root.find("vcpus") is not None:
        raise _contradiction(root, "its NUMA cells or <vcpus> name the single vCPUs")
    element = root.find("vcpu")
    if element is None:
        element = etree.SubElement(root, "vcpu")
    if element.get("current") is not None:
        del element.attrib["current"]
    element.text = str(number)


def _contradiction(root: etree._Element, reason: str) -> VmMgrError:
    hint = f"change both at once: vm-mgr edit {root.findtext('name') or 'NAME'}"
    return VmMgrError(Kind.INVALID, f"the definition contradicts that: {reason}", hint=hint)


def _product(topology: etree._Element) -> int:
    found = 1
    for key in ("sockets", "dies", "clusters", "cores", "threads"):
        value = topology.get(key, "1")
        found *= whole_number(value) or 0
    return found


def _bytes(element: etree._Element) -> int:
    """Read a size; libvirt takes one without a unit for KiB."""
    unit, text = element.get("unit") or "KiB", (element.text or "").strip()
    power = "bKMGTPE".find(unit[0].lower() if unit[0] in "bB" else unit[0].upper())
    thousand = 1000 if len(unit) == 2 and unit[1] in "bB" else 1024
    return (whole_number(text) or 0) * thousand**power if power >= 0 else 0

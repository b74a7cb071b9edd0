"""Find the disks in a domain's XML, and describe them."""

import string
from collections.abc import Iterable
from itertools import chain, product

from lxml import etree

from vm_mgr.model.storage import DiskKind
from vm_mgr.ports.definition import HardDisk, Written

__all__ = [
    "SOURCE",
    "bus_of",
    "described",
    "detach",
    "free_target",
    "hard_disks",
    "label_of",
    "source_of",
    "with_source",
    "written",
]

# Which attribute of <source> says where a disk is.
SOURCE = {DiskKind.NETWORK: "name", DiskKind.FILE: "file", DiskKind.BLOCK: "dev"}
PREFIX = {"virtio": "vd", "ide": "hd", "fdc": "fd"}
# What libvirt takes from the name of a target without a bus.
BUS_OF_PREFIX = {"vd": "virtio", "hd": "ide", "sd": "scsi", "fd": "fdc", "xvd": "xen", "ubd": "uml"}


def hard_disks(devices: etree._Element | None) -> list[etree._Element]:
    """Give those that the guest writes to."""
    if devices is None:
        return []
    return [
        disk
        for disk in devices.findall("disk")
        if disk.get("device", "disk") in ("disk", "lun") and disk.find("readonly") is None
    ]


def described(disk: etree._Element) -> HardDisk:
    """Say what it is; libvirt takes a disk without a format for a raw one."""
    source, driver = disk.find("source"), disk.find("driver")
    local = source is not None and disk.get("type", "file") in ("file", "block")
    said = "raw" if driver is None else str(driver.get("type", "raw"))
    return HardDisk(
        target=label_of(disk),
        path=str(source.get("file") or source.get("dev") or "") if local and source is not None else "",
        format="luks" if disk.find(".//encryption") is not None else said,
        network="" if source is None else _network_name(source),
    )


def _network_name(source: etree._Element) -> str:
    """Name it as qemu-img(1) does; nothing for what is reached by no network."""
    protocol, name, host = source.get("protocol"), source.get("name", ""), source.find("host")
    if not protocol:
        return ""
    if protocol == "rbd":
        return f"rbd:{name}"
    server = "" if host is None else str(host.get("name", ""))
    return f"{protocol}://{server}/{name}"


def written(disk: etree._Element) -> Written:
    """Say where it writes to; the backing files of a source are only read."""
    mirror = disk.find("mirror")
    job = "" if mirror is None else str(mirror.get("job", "copy"))
    return Written(label_of(disk), source_of(disk), job)


def label_of(disk: etree._Element) -> str:
    """Name it by its target, as people do."""
    target = disk.find("target")
    return "?" if target is None else str(target.get("dev", "?"))


def bus_of(disk: etree._Element) -> str:
    """Read the bus as libvirt does: where it is not named, the target's name tells it."""
    target = disk.find("target")
    if target is None:
        return ""
    prefixes = (word for word in BUS_OF_PREFIX if str(target.get("dev", "")).startswith(word))
    return str(target.get("bus") or BUS_OF_PREFIX.get(next(prefixes, ""), ""))


def source_of(disk: etree._Element) -> str:
    """Name a file, a device, an image or a volume; a question mark where there is none."""
    source = disk.find("source")
    if source is None:
        return "?"
    named = (source.get(key) for key in ("file", "name", "dev"))
    return str(next(filter(None, named), None) or next(iter(source.attrib.values()), "?"))


def with_source(root: etree._Element, source: str) -> list[etree._Element]:
    """Find all disks of a source."""
    return [disk for disk in root.iterfind("devices/disk") if source_of(disk) == source]


def detach(element: etree._Element) -> None:
    """Take it out of its parent."""
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)


def free_target(disks: Iterable[etree._Element], bus: str) -> str:
    """Name a target that none of these disks has."""
    taken = {label_of(disk) for disk in disks}
    prefix = PREFIX.get(bus, "sd")
    letters = string.ascii_lowercase
    endings = chain(letters, map("".join, product(letters, letters)))
    return next(prefix + ending for ending in endings if prefix + ending not in taken)

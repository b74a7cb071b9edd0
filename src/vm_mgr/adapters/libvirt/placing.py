"""Put a VM's own disks where a definition has disks, and keep what it says of them.

What a disk may have is told by https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms, and
what goes with which bus by libvirt's src/conf/domain_validate.c and src/qemu/qemu_validate.c.
"""

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from lxml import etree

from vm_mgr.adapters.libvirt.domain_disks import (
    SOURCE,
    bus_of,
    detach,
    free_target,
    hard_disks,
    label_of,
    source_of,
)
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import Disk, DiskKind

__all__ = ["new_disk", "put_in_place"]

DEFAULT_BUS = "virtio"
# Buses of other hypervisors: QEMU has none of them.
NOT_OF_QEMU = ("xen", "uml", "parallels")
# Where the disk was: vm-mgr has it elsewhere, so none of it is missed.
PLACE = ("auth", "backingStore", "mirror", "source")
# What can't work with a disk that the cluster keeps, and why.
DROPPED = {
    "shareable": "a disk belongs to one VM",
    "transient": "what a guest has written is kept",
    "backenddomain": "only Xen has it",
}
OF_LUN = ("rawio", "sgio")
OF_QCOW2 = ("metadata_cache", "discard_no_unref")
# What is told only of some buses, as element@attribute: libvirt refuses it with others.
OF_BUS = {
    "driver@queues": ("virtio",),
    "driver@queue_size": ("virtio",),
    "driver@iothread": ("virtio",),
    "driver/iothreads": ("virtio",),
    "driver@ioeventfd": ("virtio",),
    "driver@event_idx": ("virtio",),
    "driver@iommu": ("virtio",),
    "driver@ats": ("virtio",),
    "driver@packed": ("virtio",),
    "driver@page_per_vq": ("virtio",),
    "target@rotation_rate": ("scsi", "ide", "sata"),
    "target@removable": ("usb", "scsi"),
    "wwn": ("scsi", "ide", "sata"),
    "vendor": ("scsi",),
    "product": ("scsi",),
    "geometry": ("virtio", "scsi", "ide", "sata"),
    "geometry@trans": ("ide",),
}
# What a guest has flushed is on the disk with each of these. A file that several nodes mount can only migrate
# live with those that leave the page cache out.
DIRECT = ("none", "directsync")
SAFE_CACHES = {
    DiskKind.NETWORK: (*DIRECT, "writethrough", "writeback"),
    DiskKind.FILE: DIRECT,
    DiskKind.BLOCK: DIRECT,
}


def put_in_place(devices: etree._Element, disks: Sequence[Disk], own: Sequence[str] = ()) -> list[str]:
    """Put each disk where the definition has one, and say what could not stay as it was.

    own: the sources that these disks had before, in their order; where the definition names them, those are
    the places. Else it is the first hard disks. Raises NOT_SUPPORTED for what the guest would read wrongly.
    """
    places = _places(devices, len(disks), own)
    there = [one for one in places if one is not None]
    for one in there:
        _refuse_unreadable(one)
    changes, position = [], devices.index(there[-1]) + 1 if there else 0
    for disk, place in zip_longest(disks, places):
        if place is None:
            devices.insert(position, new_disk(disk, devices.findall("disk")))
            position += 1
        else:
            label = label_of(place)
            changes += [f"{label}: {change}" for change in _replace(place, disk)]
    return changes


def new_disk(disk: Disk, others: Sequence[etree._Element]) -> etree._Element:
    """Describe a disk that the definition says nothing of."""
    bus = disk.bus or DEFAULT_BUS
    element = etree.Element("disk")
    etree.SubElement(element, "target", dev=free_target(others, bus), bus=bus)
    _set_source(element, disk)
    _set_driver(element, disk)
    return element


def _places(devices: etree._Element, number: int, own: Sequence[str]) -> list[etree._Element | None]:
    named = {source_of(one): one for one in devices.iterfind("disk")}
    if any(source in named for source in own):
        return [named.get(source) for source in own]
    return [*hard_disks(devices)[:number]]


def _refuse_unreadable(place: etree._Element) -> None:
    encrypted = place.find("encryption") is not None or place.find("source/encryption") is not None
    sliced = place.find("source/slices") is not None
    if encrypted or sliced:
        what = "is encrypted" if encrypted else "is a part of a file"
        message = f"the disk {label_of(place)} of the definition {what}, which vm-mgr does not keep"
        way = "decrypt its image" if encrypted else "copy that part into a file of its own"
        hint = f"{way} with qemu-img convert, and remove <{'encryption' if encrypted else 'slices'}>"
        raise VmMgrError(Kind.NOT_SUPPORTED, message, hint=hint)


def _replace(place: etree._Element, disk: Disk) -> list[str]:
    """Make it this disk, and say what is lost by that."""
    old = bus_of(place)
    new = disk.bus or ("" if old in NOT_OF_QEMU else old) or DEFAULT_BUS
    lost = [*_without_what_cannot_work(place), *_set_target(place, old, new)]
    lost += _without_parts_of_other_formats(place, disk.format)
    lost += _without_parts_of_other_buses(place, new)
    _set_source(place, disk)
    return [*lost, *_set_driver(place, disk)]


def _without_what_cannot_work(place: etree._Element) -> Iterator[str]:
    for tag, why in DROPPED.items():
        for element in place.findall(tag):
            detach(element)
            yield f"{tag} dropped ({why})"
    if place.find("source[@startupPolicy]") is not None:
        yield "startupPolicy dropped (a VM never starts without its disk)"
    if place.find("source/reservations") is not None:
        yield "reservations dropped (only a LUN has them)"
    if place.get("device", "disk") != "disk":
        yield f"device {place.get('device')} → disk"
    yield from (f"{key} dropped (only a LUN has it)" for key in OF_LUN if place.attrib.pop(key, ""))
    if place.get("snapshot", "no") != "no":
        yield f"snapshot {place.get('snapshot')} dropped (vm-mgr takes snapshots in the storage)"
        del place.attrib["snapshot"]
    for alias in place.findall("alias"):  # only those with this prefix are the user's
        if not str(alias.get("name", "")).startswith("ua-"):
            detach(alias)


def _without_parts_of_other_formats(place: etree._Element, image_format: str) -> Iterator[str]:
    for driver in place.findall("driver") if image_format != "qcow2" else ():
        for word in OF_QCOW2:
            inner = driver.find(word)
            if inner is not None:
                detach(inner)
            if inner is not None or driver.attrib.pop(word, ""):
                yield f"driver {word} dropped (the disk is {image_format})"


def _set_target(place: etree._Element, old: str, bus: str) -> Iterator[str]:
    """Set bus and target; with another bus comes another target, and the address goes."""
    target = place.find("target")
    if target is None:
        target = etree.SubElement(place, "target")
    others = [*place.itersiblings("disk", preceding=True), *place.itersiblings("disk")]
    present, moved = target.get("dev", ""), bus != old
    target.attrib.pop("tray", "")
    target.set("bus", bus)
    if moved and old:
        yield f"bus {old} → {bus}"
        for address in place.findall("address"):
            detach(address)
            yield f"address dropped (it was one on the bus {old})"
    if moved or not present or present in map(label_of, others):
        target.set("dev", free_target(others, bus))
        if present:
            yield f"target {present} → {target.get('dev')}"


def _without_parts_of_other_buses(place: etree._Element, bus: str) -> Iterator[str]:
    if not place.get("model", bus).startswith(bus):
        yield f"model {place.get('model')} dropped (not on the bus {bus})"
        del place.attrib["model"]
    for name, buses in OF_BUS.items():
        path, _, key = name.partition("@")
        for element in place.findall(path) if bus not in buses else ():
            if not key:
                detach(element)
            elif not element.attrib.pop(key, ""):
                continue
            yield f"{' '.join(name.replace('@', '/').split('/'))} dropped (not on the bus {bus})"


def _set_source(element: etree._Element, disk: Disk) -> None:
    """Say where it is, and nothing of where it was."""
    for tag in PLACE:
        for old in element.findall(tag):
            detach(old)
    element.set("type", disk.kind.value)
    element.set("device", "disk")
    source = etree.Element("source")
    if disk.access is not None:
        source.set("protocol", disk.access.protocol)
        auth = etree.Element("auth", username=disk.access.user)
        etree.SubElement(auth, "secret", type=disk.access.secret_type, usage=disk.access.secret_usage)
        element.insert(0, auth)
    source.set(SOURCE[disk.kind], disk.source)
    element.insert(len(element.findall("auth")), source)


def _set_driver(element: etree._Element, disk: Disk) -> list[str]:
    """Set what keeps data safe, keep the rest, and say where something else was asked for."""
    driver = element.find("driver")
    if driver is None:
        driver = etree.Element("driver")
    element.insert(0, driver)
    asked = {key: driver.get(key, "") for key in ("cache", "io", "error_policy", "rerror_policy")}
    cache = asked["cache"] if asked["cache"] in SAFE_CACHES[disk.kind] else disk.cache
    io = asked["io"] or disk.io
    if disk.kind is DiskKind.NETWORK or (io == "native" and cache not in DIRECT):
        io = ""  # libvirt refuses it with a cache; QEMU's network drivers have their own way
    # Pause the guest instead of telling it: the agent lets it go on when the storage is back, and no file
    # system inside turns read-only meanwhile.
    ours = {"cache": cache, "io": io, "discard": driver.get("discard", "unmap")}
    ours |= {"error_policy": "stop", "rerror_policy": ""}
    for key, value in {"name": "qemu", "type": disk.format, **ours}.items():
        driver.attrib.pop(key, "")
        if value:
            driver.set(key, value)
    # A read error is treated as any other where nothing else is said.
    is_now = {**ours, "rerror_policy": "stop"}
    return [
        f"driver {key} {value} → {is_now[key] or 'the default'}"
        for key, value in asked.items()
        if value not in ("", "default", is_now[key])
    ]

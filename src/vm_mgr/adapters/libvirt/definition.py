"""Read and prepare domain XML (https://libvirt.org/formatdomain.html)."""

import secrets
import string
import uuid
from collections.abc import Mapping, Sequence

from lxml import etree

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import Disk, DiskKind
from vm_mgr.model.vm import VmName
from vm_mgr.ports.definition import Prepared

__all__ = ["DomainXml"]

# Which attribute of <source> says where a disk is.
_SOURCE = {DiskKind.NETWORK: "name", DiskKind.FILE: "file"}
_PREFIX = {"virtio": "vd", "ide": "hd", "fdc": "fd"}
_XML_HINT = "give the XML of a libvirt domain, as `virsh dumpxml --inactive` prints it"


class DomainXml:
    """Domain XML, parsed without entities, DTDs or network access."""

    def problems(self, xml: str) -> list[VmMgrError]:
        """Check that a text is a domain that can be prepared."""
        try:
            root = _parse(xml)
            _uuid(root)
        except VmMgrError as error:
            return [error]
        if root.find("devices") is None:
            return [VmMgrError(Kind.INVALID, "the domain XML has no <devices>", hint=_XML_HINT)]
        return []

    def uuid(self, xml: str) -> str:
        """Read the UUID."""
        return _uuid(_parse(xml))

    def name(self, xml: str) -> str:
        """Read the domain's name."""
        return (_parse(xml).findtext("name") or "").strip()

    def prepare(self, xml: str, name: VmName, disks: Sequence[Disk], *, fresh: bool = False) -> Prepared:
        """Set name and identity; the disks take the places of the first hard disks that the text has.

        A domain that is not persistent gets from libvirt new addresses at each start, so they are kept here.
        """
        root = _parse(xml)
        ident = ("" if fresh else _uuid(root)) or str(uuid.uuid4())
        _set_first(root, "uuid", ident)
        _set_first(root, "name", name)
        devices = root.find("devices")
        assert devices is not None  # noqa: S101 - problems() has looked
        _give_addresses(devices, fresh=fresh)
        replaced = _hard_disks(devices)[: len(disks)]
        position = devices.index(replaced[0]) if replaced else 0
        boots = [disk.find("boot") for disk in replaced]
        for element in replaced:
            devices.remove(element)
        own = []
        for offset, disk in enumerate(disks):
            element = _disk(disk, _free_target(devices, disk.bus))
            own.append(element)
            devices.insert(position + offset, element)
            boot = boots[offset] if offset < len(boots) else None
            if boot is not None:
                element.append(boot)
        others = [element for element in _hard_disks(devices) if element not in own]
        foreign = [_source(element) for element in others if element.get("type") != DiskKind.NETWORK.value]
        etree.indent(root)
        return Prepared(etree.tostring(root, encoding="unicode"), ident, tuple(foreign))

    def renamed(self, xml: str, name: VmName, sources: Mapping[str, str]) -> str:
        """Replace name and sources."""
        root = _parse(xml)
        _set_first(root, "name", name)
        for attribute in _SOURCE.values():
            for source in root.iterfind(f"devices/disk/source[@{attribute}]"):
                present = str(source.get(attribute))
                source.set(attribute, sources.get(present, present))
        return etree.tostring(root, encoding="unicode")

    def disk_files(self, xml: str) -> list[tuple[str, str]]:
        """Read the sources; libvirt takes a disk without a format for a raw one."""
        found = []
        for disk in _hard_disks(_parse(xml).find("devices")):
            source, driver = disk.find("source"), disk.find("driver")
            path = None if source is None else source.get("file") or source.get("dev")
            if path:
                found.append((str(path), "raw" if driver is None else str(driver.get("type", "raw"))))
        return found

    def rbd_images(self, xml: str, pool: str) -> list[str]:
        """Name the images of the pool that the domain opens for writing."""
        disks = [
            disk
            for disk in _parse(xml).iterfind("devices/disk")
            if disk.find("readonly") is None and disk.find("shareable") is None
        ]
        sources = [source for disk in disks for source in disk.iterfind("source[@protocol='rbd']")]
        names = [str(source.get("name", "")) for source in sources]
        return [name.partition("/")[2] for name in names if name.startswith(f"{pool}/")]


def _parse(xml: str) -> etree._Element:
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_blank_text=True, huge_tree=False
    )
    try:
        root = etree.fromstring(xml.encode(), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise VmMgrError(Kind.INVALID, f"the definition is not XML: {error}", hint=_XML_HINT) from error
    if root.getroottree().docinfo.internalDTD is not None or next(root.iter(etree.Entity), None) is not None:
        raise VmMgrError(
            Kind.INVALID,
            "the definition has a DOCTYPE or entities",
            hint="write the values out and remove the DOCTYPE",
        )
    if root.tag != "domain":
        message = f"the definition is a <{root.tag}>, not a <domain>"
        raise VmMgrError(Kind.INVALID, message, hint=_XML_HINT)
    return root


def _uuid(root: etree._Element) -> str:
    text = (root.findtext("uuid") or "").strip()
    try:
        return str(uuid.UUID(text)) if text else ""
    except ValueError as error:
        hint = "remove the <uuid> element; a new one is generated"
        raise VmMgrError(Kind.INVALID, f"{text!r} is not a UUID", hint=hint) from error


def _set_first(root: etree._Element, tag: str, text: str) -> None:
    for element in root.findall(tag):
        root.remove(element)
    element = etree.Element(tag)
    element.text = text
    root.insert(0, element)


def _hard_disks(devices: etree._Element | None) -> list[etree._Element]:
    if devices is None:
        return []
    return [
        disk
        for disk in devices.findall("disk")
        if disk.get("device", "disk") in ("disk", "lun") and disk.find("readonly") is None
    ]


def _give_addresses(devices: etree._Element, *, fresh: bool) -> None:
    for interface in devices.iterfind("interface"):
        mac = interface.find("mac")
        if mac is None:
            mac = etree.SubElement(interface, "mac")
        if fresh or not mac.get("address"):
            # 52:54:00 is the prefix that QEMU's and libvirt's own addresses have.
            mac.set("address", "52:54:00:" + secrets.token_bytes(3).hex(":"))


def _free_target(devices: etree._Element, bus: str) -> str:
    taken = {target.get("dev") for target in devices.iterfind("disk/target")}
    prefix = _PREFIX.get(bus, "sd")
    return next(prefix + letter for letter in string.ascii_lowercase if prefix + letter not in taken)


def _disk(disk: Disk, target: str) -> etree._Element:
    element = etree.Element("disk", type=disk.kind.value, device="disk")
    driver = etree.SubElement(element, "driver", name="qemu", type=disk.format, cache=disk.cache)
    if disk.io:
        driver.set("io", disk.io)
    driver.set("discard", "unmap")
    source = etree.Element("source")
    if disk.kind is DiskKind.NETWORK:
        auth = etree.SubElement(element, "auth", username=disk.user)
        etree.SubElement(auth, "secret", type="ceph", usage=disk.secret_usage)
        source.set("protocol", disk.protocol)
    source.set(_SOURCE[disk.kind], disk.source)
    element.append(source)
    etree.SubElement(element, "target", dev=target, bus=disk.bus)
    return element


def _source(disk: etree._Element) -> str:
    source = disk.find("source")
    return "?" if source is None else str(next(iter(source.attrib.values()), "?"))

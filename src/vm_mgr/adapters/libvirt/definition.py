"""Read and prepare domain XML (https://libvirt.org/formatdomain.html)."""

import secrets
import string
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain, product

from lxml import etree

from vm_mgr.adapters.libvirt.opened import opened
from vm_mgr.adapters.libvirt.requirements import make_media_optional, requirements
from vm_mgr.adapters.libvirt.ties import duplicates, ties
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.numbers import whole_number
from vm_mgr.model.storage import Disk, DiskKind, DiskSource
from vm_mgr.model.vm import VmName
from vm_mgr.ports.definition import HardDisk, Machine, Prepared, Tie, Written

__all__ = ["DomainXml"]

# Which attribute of <source> says where a disk is.
_SOURCE = {DiskKind.NETWORK: "name", DiskKind.FILE: "file"}
_PREFIX = {"virtio": "vd", "ide": "hd", "fdc": "fd"}
_XML_HINT = "give the XML of a libvirt domain, as `virsh dumpxml --inactive` prints it"


class DomainXml:
    """Domain XML, parsed without entities, DTDs or network access."""

    def __init__(self, shared: Callable[[], Collection[str]] = tuple) -> None:
        """shared gives the folders that all nodes have."""
        self._shared = shared

    def problems(self, xml: str) -> list[VmMgrError]:
        """Check that a text is a domain that can be prepared."""
        try:
            root = _parse(xml)
            _uuid(root)
        except VmMgrError as error:
            return [error]
        if root.find("devices") is None:
            return [VmMgrError(Kind.INVALID, "the domain XML has no <devices>", hint=_XML_HINT)]
        return duplicates(root)

    def ties(self, xml: str, own: Collection[str] = ()) -> tuple[Tie, ...]:
        """Look at every element that names a path or hardware of a node."""
        return tuple(ties(_parse(xml), lambda path: path in own or self._is_shared(path)))

    def _is_shared(self, path: str) -> bool:
        return path.startswith(tuple(f"{folder.rstrip('/')}/" for folder in self._shared()))

    def uuid(self, xml: str) -> str:
        """Read the UUID."""
        return _uuid(_parse(xml))

    def name(self, xml: str) -> str:
        """Read the domain's name."""
        return (_parse(xml).findtext("name") or "").strip()

    def machine(self, xml: str) -> Machine:
        """Read what the text says; libvirt counts memory in KiB where no unit is given."""
        root = _parse(xml)
        vcpu, macs = root.find("vcpu"), root.iterfind("devices/interface/mac")
        count = "1" if vcpu is None else vcpu.get("current") or vcpu.text or "1"
        return Machine(
            memory_bytes=_memory_bytes(root),
            vcpus=whole_number(str(count).strip()) or 1,
            uuid=_uuid(root),
            macs=tuple(str(mac.get("address")) for mac in macs if mac.get("address")),
        )

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
        if fresh:
            _give_logs(devices, name)
        replaced = _hard_disks(devices)[: len(disks)]
        position = devices.index(replaced[0]) if replaced else 0
        boots = [disk.find("boot") for disk in replaced]
        for element in replaced:
            devices.remove(element)
        make_media_optional(root)
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
        return Prepared(_text(root), ident, tuple(foreign))

    def renamed(self, xml: str, name: VmName, sources: Mapping[str, str]) -> str:
        """Replace name and sources."""
        root = _parse(xml)
        _set_first(root, "name", name)
        for attribute in _SOURCE.values():
            for source in root.iterfind(f"devices/disk/source[@{attribute}]"):
                present = str(source.get(attribute))
                source.set(attribute, sources.get(present, present))
        return etree.tostring(root, encoding="unicode")

    def hard_disks(self, xml: str) -> list[HardDisk]:
        """Read targets and sources; libvirt takes a disk without a format for a raw one."""
        return [_described(disk) for disk in _hard_disks(_parse(xml).find("devices"))]

    def sources(self, xml: str) -> list[str]:
        """Read the sources of all disks."""
        found = [_source(disk) for disk in _parse(xml).iterfind("devices/disk")]
        return [source for source in found if source != "?"]

    def written(self, xml: str) -> list[Written]:
        """Read targets, sources and mirrors; the backing files of a source are only read."""
        return [_written(disk) for disk in _hard_disks(_parse(xml).find("devices"))]

    def with_disk(self, xml: str, disk: Disk) -> str:
        """Put it behind the disks that are there."""
        root = _parse(xml)
        devices = root.find("devices")
        assert devices is not None  # noqa: S101 - a stored definition has them
        present = devices.findall("disk")
        position = devices.index(present[-1]) + 1 if present else 0
        devices.insert(position, _disk(disk, _free_target(devices, disk.bus)))
        return _text(root)

    def without_disk(self, xml: str, source: str) -> str:
        """Remove it."""
        root = _parse(xml)
        for disk in _with_source(root, source):
            _detach(disk)
        return _text(root)

    def device(self, xml: str, source: str) -> str:
        """Give the element."""
        found = _with_source(_parse(xml), source)
        if not found:
            raise VmMgrError(Kind.NOT_FOUND, f"the definition has no disk {source}", hint=_XML_HINT)
        return etree.tostring(found[0], encoding="unicode", with_tail=False)

    def changed(
        self,
        xml: str,
        *,
        memory_bytes: int | None = None,
        vcpus: int | None = None,
        description: str | None = None,
    ) -> str:
        """Set the elements that libvirt knows them by."""
        root = _parse(xml)
        if memory_bytes is not None:
            _set_memory(root, memory_bytes)
        if vcpus is not None:
            _set_vcpus(root, vcpus)
        if description is not None:
            for element in root.findall("description"):
                root.remove(element)
            if description:
                element = etree.SubElement(root, "description")
                element.text = description
        return _text(root)

    def with_optional_media(self, xml: str) -> str:
        """Set what libvirt calls the startup policy of a source."""
        root = _parse(xml)
        return _text(root) if make_media_optional(root) else xml

    def completed(self, xml: str) -> str:
        """Look for interfaces without an address."""
        root = _parse(xml)
        interfaces = root.findall("devices/interface")
        if all(mac is not None and mac.get("address") for mac in (one.find("mac") for one in interfaces)):
            return xml
        _give_addresses(root.find("devices"), fresh=False)
        return _text(root)

    def has_agent(self, xml: str) -> bool:
        """Look for the channel with the name that QEMU's agent has."""
        return _parse(xml).find("devices/channel/target[@name='org.qemu.guest_agent.0']") is not None

    def requirements(self, xml: str) -> tuple[str, ...]:
        """Read them; a text that is no domain asks for nothing."""
        try:
            return requirements(_parse(xml), self._is_shared)
        except VmMgrError:
            return ()

    def opened(self, xml: str) -> list[DiskSource]:
        """Look at all disks, and at what is handed to QEMU as it is."""
        return list(opened(_parse(xml)))


def _give_logs(devices: etree._Element, name: VmName) -> None:
    """Name the files of consoles' logs after the VM: on one node only one VM can have a file open."""
    for log in devices.iterfind(".//log[@file]"):
        folder, slash, file = str(log.get("file")).rpartition("/")
        log.set("file", f"{folder}{slash}{name}-{file}")


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


def _memory_bytes(root: etree._Element) -> int:
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


def _described(disk: etree._Element) -> HardDisk:
    source, driver, target = disk.find("source"), disk.find("driver"), disk.find("target")
    local = source is not None and disk.get("type", "file") in ("file", "block")
    return HardDisk(
        target="?" if target is None else str(target.get("dev", "?")),
        path=str(source.get("file") or source.get("dev") or "") if local and source is not None else "",
        format="raw" if driver is None else str(driver.get("type", "raw")),
    )


def _written(disk: etree._Element) -> Written:
    target, mirror = disk.find("target"), disk.find("mirror")
    job = "" if mirror is None else str(mirror.get("job", "copy"))
    return Written("?" if target is None else str(target.get("dev", "?")), _source(disk), job)


def _give_addresses(devices: etree._Element | None, *, fresh: bool) -> None:
    if devices is None:
        return
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
    letters = string.ascii_lowercase
    endings = chain(letters, map("".join, product(letters, letters)))
    return next(prefix + ending for ending in endings if prefix + ending not in taken)


def _disk(disk: Disk, target: str) -> etree._Element:
    element = etree.Element("disk", type=disk.kind.value, device="disk")
    driver = etree.SubElement(element, "driver", name="qemu", type=disk.format, cache=disk.cache)
    if disk.io:
        driver.set("io", disk.io)
    driver.set("discard", "unmap")
    # Pause the guest instead of telling it: the agent lets it go on when the storage is back, and no file
    # system inside turns read-only meanwhile.
    driver.set("error_policy", "stop")
    source = etree.Element("source")
    if disk.access is not None:
        auth = etree.SubElement(element, "auth", username=disk.access.user)
        etree.SubElement(auth, "secret", type=disk.access.secret_type, usage=disk.access.secret_usage)
        source.set("protocol", disk.access.protocol)
    source.set(_SOURCE[disk.kind], disk.source)
    element.append(source)
    etree.SubElement(element, "target", dev=target, bus=disk.bus)
    return element


def _source(disk: etree._Element) -> str:
    source = disk.find("source")
    if source is None:
        return "?"
    named = (source.get(key) for key in ("file", "name", "dev"))
    return str(next(filter(None, named), None) or next(iter(source.attrib.values()), "?"))


def _with_source(root: etree._Element, source: str) -> list[etree._Element]:
    return [disk for disk in root.iterfind("devices/disk") if _source(disk) == source]


def _detach(element: etree._Element) -> None:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)


def _text(root: etree._Element) -> str:
    etree.indent(root)
    return etree.tostring(root, encoding="unicode")


def _set_memory(root: etree._Element, size_bytes: int) -> None:
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


def _set_vcpus(root: etree._Element, number: int) -> None:
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

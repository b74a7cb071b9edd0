"""Read and prepare domain XML (https://libvirt.org/formatdomain.html)."""

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence

from lxml import etree

from vm_mgr.adapters.libvirt.appliance import ApplianceXml
from vm_mgr.adapters.libvirt.devices import edited, made
from vm_mgr.adapters.libvirt.domain_disks import (
    SOURCE,
    described,
    detach,
    hard_disks,
    label_of,
    source_of,
    with_source,
    written,
)
from vm_mgr.adapters.libvirt.domain_text import XML_HINT, parse, set_first, text_of, uuid_of
from vm_mgr.adapters.libvirt.exclusive import exclusive, give_own, new_mac, shared
from vm_mgr.adapters.libvirt.immovable import immovable
from vm_mgr.adapters.libvirt.nvram import nvram_places, nvram_problems, outlive_power_off, own_nvram
from vm_mgr.adapters.libvirt.opened import opened
from vm_mgr.adapters.libvirt.placing import new_disk, put_in_place
from vm_mgr.adapters.libvirt.requirements import make_media_optional, requirements
from vm_mgr.adapters.libvirt.sizes import memory_bytes, set_memory, set_vcpus, vcpus
from vm_mgr.adapters.libvirt.ties import duplicates, ties
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.devices import DeviceChange
from vm_mgr.model.nvram import NvramPlaces
from vm_mgr.model.storage import Disk, DiskSource
from vm_mgr.model.vm import VmName
from vm_mgr.ports.definition import Edited, Exclusive, HardDisk, Machine, Prepared, Tie, Written

__all__ = ["DomainXml"]


class DomainXml(ApplianceXml):
    """Domain XML, parsed without entities, DTDs or network access."""

    def __init__(
        self, shared: Callable[[], Collection[str]] = tuple, ceph: Callable[[], bool] = lambda: True
    ) -> None:
        """shared gives the folders that all nodes have; ceph tells whether all nodes reach one."""
        self._shared = shared
        self._ceph = ceph

    def problems(self, xml: str) -> list[VmMgrError]:
        """Check that a text is a domain that can be prepared."""
        try:
            root = parse(xml)
            uuid_of(root)
        except VmMgrError as error:
            return [error]
        if root.find("devices") is None:
            return [VmMgrError(Kind.INVALID, "the domain XML has no <devices>", hint=XML_HINT)]
        return duplicates(root) + nvram_problems(root)

    def ties(self, xml: str, own: Collection[str] = ()) -> tuple[Tie, ...]:
        """Look at every element that names a path or hardware of a node."""
        return tuple(ties(parse(xml), lambda path: path in own or self._is_shared(path)))

    def immovable(self, xml: str) -> tuple[str, ...]:
        """Look for what libvirt and QEMU refuse to move."""
        return tuple(immovable(parse(xml)))

    def _is_shared(self, path: str) -> bool:
        return path.startswith(tuple(f"{folder.rstrip('/')}/" for folder in self._shared()))

    def uuid(self, xml: str) -> str:
        """Read the UUID."""
        return uuid_of(parse(xml))

    def name(self, xml: str) -> str:
        """Read the domain's name."""
        return (parse(xml).findtext("name") or "").strip()

    def machine(self, xml: str) -> Machine:
        """Read what the text says; libvirt counts memory in KiB where no unit is given."""
        root = parse(xml)
        macs = root.iterfind("devices/interface/mac")
        return Machine(
            memory_bytes=memory_bytes(root),
            vcpus=vcpus(root),
            uuid=uuid_of(root),
            macs=tuple(str(mac.get("address")) for mac in macs if mac.get("address")),
            description=root.findtext("description", "").strip(),
            start_bytes=memory_bytes(root) if root.find("memoryBacking/hugepages") is None else 0,
        )

    def prepare(
        self,
        xml: str,
        name: VmName,
        disks: Sequence[Disk],
        *,
        fresh: bool = False,
        copied: bool = False,
        own: Sequence[str] = (),
    ) -> Prepared:
        """Keep what the text says, but for what a VM of the cluster can't have.

        A domain that is not persistent gets from libvirt new addresses at each start, so they are kept here.
        """
        root = parse(xml)
        changes = give_own(root, name) if fresh else []
        ident = ("" if fresh else uuid_of(root)) or str(uuid.uuid4())
        set_first(root, "uuid", ident)
        set_first(root, "name", name)
        # libvirt refuses a UUID that the guest's firmware does not tell too.
        for entry in root.iterfind("sysinfo/system/entry[@name='uuid']"):
            entry.text = ident
        variables = own_nvram(root, ident)
        left = "" if fresh or copied else variables
        if variables:
            new = f"new from the firmware's template, {left} is not taken"
            changes.append("UEFI variables: " + (new if left else "a copy of the source's"))
        devices = _devices(root)
        _give_addresses(devices)
        changes += put_in_place(devices, disks, own)
        changes += make_media_optional(root)
        mine = {disk.source for disk in disks}
        foreign = [one for one in hard_disks(devices) if source_of(one) not in mine]
        return Prepared(
            text_of(root),
            ident,
            foreign_disks=tuple(f"{label_of(one)} {source_of(one)}" for one in foreign),
            changes=tuple(changes),
            shared=tuple(shared(root)) if fresh else (),
            variables=left,
        )

    def renamed(self, xml: str, name: VmName, sources: Mapping[str, str]) -> str:
        """Replace name and sources."""
        root = parse(xml)
        set_first(root, "name", name)
        for attribute in SOURCE.values():
            for source in root.iterfind(f"devices/disk/source[@{attribute}]"):
                present = str(source.get(attribute))
                source.set(attribute, sources.get(present, present))
        return etree.tostring(root, encoding="unicode")

    def hard_disks(self, xml: str) -> list[HardDisk]:
        """Read targets and sources; libvirt takes a disk without a format for a raw one."""
        return [described(disk) for disk in hard_disks(parse(xml).find("devices"))]

    def sources(self, xml: str) -> list[str]:
        """Read the sources of all disks."""
        found = [source_of(disk) for disk in parse(xml).iterfind("devices/disk")]
        return [source for source in found if source != "?"]

    def written(self, xml: str) -> list[Written]:
        """Read targets, sources and mirrors; the backing files of a source are only read."""
        return [written(disk) for disk in hard_disks(parse(xml).find("devices"))]

    def with_disk(self, xml: str, disk: Disk) -> str:
        """Put it behind the disks that are there."""
        root = parse(xml)
        devices = _devices(root)
        present = devices.findall("disk")
        position = devices.index(present[-1]) + 1 if present else 0
        devices.insert(position, new_disk(disk, present))
        return text_of(root)

    def without_disk(self, xml: str, source: str) -> str:
        """Remove it."""
        root = parse(xml)
        for disk in with_source(root, source):
            detach(disk)
        return text_of(root)

    def device(self, xml: str, source: str) -> str:
        """Give the element."""
        found = with_source(parse(xml), source)
        if not found:
            raise VmMgrError(Kind.NOT_FOUND, f"the definition has no disk {source}", hint=XML_HINT)
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
        root = parse(xml)
        if memory_bytes is not None:
            set_memory(root, memory_bytes)
        if vcpus is not None:
            set_vcpus(root, vcpus)
        if description is not None:
            for element in root.findall("description"):
                root.remove(element)
            if description:
                element = etree.SubElement(root, "description")
                element.text = description
        return text_of(root)

    def with_optional_media(self, xml: str) -> str:
        """Set what libvirt calls the startup policy of a source."""
        root = parse(xml)
        return text_of(root) if make_media_optional(root) else xml

    def completed(self, xml: str) -> str:
        """Look for interfaces without an address, and for a TPM that a power-off would empty."""
        root = parse(xml)
        before = text_of(root)
        _give_addresses(_devices(root))
        outlive_power_off(root)
        after = text_of(root)
        # A declaration may name the encoding of the file that it was read from; what is stored is UTF-8.
        declared = xml.lstrip("\ufeff").startswith("<?xml")
        return xml if after == before and not declared else after

    def exclusive(self, xml: str) -> tuple[Exclusive, ...]:
        """Read it; a text that is no domain has nothing."""
        try:
            return tuple(dict.fromkeys(exclusive(parse(xml))))
        except VmMgrError:
            return ()

    def edited(self, xml: str, change: DeviceChange) -> Edited:
        """Change a device."""
        return edited(parse(xml), change)

    made = staticmethod(made)

    def has_agent(self, xml: str) -> bool:
        """Look for the channel with the name that QEMU's agent has."""
        return parse(xml).find("devices/channel/target[@name='org.qemu.guest_agent.0']") is not None

    def nvram(self, xml: str) -> NvramPlaces:
        """Read the places."""
        root = parse(xml)
        return nvram_places(root, (root.findtext("name") or "").strip(), uuid_of(root))

    def requirements(self, xml: str) -> tuple[str, ...]:
        """Read them; a text that is no domain asks for nothing."""
        try:
            return requirements(parse(xml), self._is_shared, ceph=self._ceph())
        except VmMgrError:
            return ()

    def opened(self, xml: str) -> list[DiskSource]:
        """Look at all disks, and at what is handed to QEMU as it is."""
        return list(opened(parse(xml)))


def _devices(root: etree._Element) -> etree._Element:
    devices = root.find("devices")
    assert devices is not None  # noqa: S101 - problems() has looked, and a stored definition has them
    return devices


def _give_addresses(devices: etree._Element) -> None:
    for interface in devices.iterfind("interface"):
        mac = interface.find("mac")
        if mac is None:
            mac = etree.SubElement(interface, "mac")
        if not mac.get("address"):
            mac.set("address", new_mac())

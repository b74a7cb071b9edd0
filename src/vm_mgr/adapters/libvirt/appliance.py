"""Make a domain of what an OVF says (https://libvirt.org/formatdomain.html)."""

from collections.abc import Mapping

from lxml import etree

from vm_mgr.adapters.libvirt.ovf import read_ovf
from vm_mgr.model.package import LIBVIRT, NONE, Appliance, ApplianceCard

__all__ = ["ApplianceXml"]

SPARE_PORTS = 8


class ApplianceXml:
    """The part of the definitions' port that takes over VMs of other programs."""

    def appliance(self, description: bytes) -> Appliance:
        """Read an OVF."""
        return read_ovf(description)

    def of_appliance(
        self, appliance: Appliance, networks: Mapping[str, str], *, keep_macs: bool, kvm: bool
    ) -> str:
        """Write what the guest has seen before, as far as QEMU has it, and what vm-mgr's commands need."""
        root = etree.Element("domain", type="kvm" if kvm else "qemu")
        _add(root, "name", text="imported")
        if appliance.description:
            _add(root, "description", text=appliance.description)
        _add(root, "memory", text=str(appliance.memory_bytes), unit="bytes")
        _add(root, "vcpu", text=str(appliance.vcpus))
        system = _add(root, "os", **({"firmware": "efi"} if appliance.efi else {}))
        ide = any(disk.bus == "ide" for disk in appliance.disks)
        _add(system, "type", text="hvm", arch="x86_64", machine="pc" if ide else "q35")
        if appliance.efi:
            features = _add(system, "firmware")
            _add(features, "feature", enabled="no", name="secure-boot")
        _add(system, "boot", dev="hd")
        features = _add(root, "features")
        _add(features, "acpi")
        _add(features, "apic")
        cpu = _add(root, "cpu", mode="host-model" if kvm else "maximum")
        if appliance.cores > 1:
            sockets = str(appliance.vcpus // appliance.cores)
            _add(cpu, "topology", sockets=sockets, cores=str(appliance.cores), threads="1")
        _add(root, "clock", offset="localtime" if appliance.windows else "utc")
        devices = _add(root, "devices")
        _disks(devices, appliance)
        for card in appliance.cards:
            _card(devices, card, networks.get(card.network, NONE), keep_mac=keep_macs)
        _usual(devices, ports=0 if ide else SPARE_PORTS)
        etree.indent(root)
        return etree.tostring(root, encoding="unicode")


def _disks(devices: etree._Element, appliance: Appliance) -> None:
    """Keep the places: `prepare` puts the disks there, and the targets are named anew."""
    model = next((disk.controller for disk in appliance.disks if disk.controller), "")
    if model:
        _add(devices, "controller", type="scsi", index="0", model=model)
    for number, disk in enumerate(appliance.disks):
        element = _add(devices, "disk", type="file", device="disk")
        prefix = {"ide": "hd", "virtio": "vd"}.get(disk.bus, "sd")
        _add(element, "target", dev=f"{prefix}{chr(ord('a') + number % 26)}", bus=disk.bus)


def _card(devices: etree._Element, card: ApplianceCard, target: str, *, keep_mac: bool) -> None:
    if target == NONE:
        return
    name = target.removeprefix(LIBVIRT)
    kind = "bridge" if name == target else "network"
    element = _add(devices, "interface", type=kind)
    if keep_mac and card.mac:
        _add(element, "mac", address=card.mac)
    _add(element, "source", **{kind: name})
    _add(element, "model", type=card.model)


def _usual(devices: etree._Element, *, ports: int) -> None:
    """Add a console, a screen for its node alone, a channel for an agent, and room for more disks."""
    for _ in range(ports):
        _add(devices, "controller", type="pci", model="pcie-root-port")
    _add(devices, "serial", type="pty")
    _add(devices, "console", type="pty")
    channel = _add(devices, "channel", type="unix")
    _add(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    _add(devices, "input", type="tablet", bus="usb")
    _add(devices, "graphics", type="vnc", autoport="yes", listen="127.0.0.1")
    _add(_add(devices, "video"), "model", type="vga")


def _add(parent: etree._Element, tag: str, text: str = "", **attributes: str) -> etree._Element:
    element = etree.SubElement(parent, tag, attrib=attributes)
    element.text = text or None
    return element

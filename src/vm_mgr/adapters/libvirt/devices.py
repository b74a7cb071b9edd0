"""Change network cards and optical media in domain XML, and write the XML of a new domain."""

import secrets

from lxml import etree

from vm_mgr.adapters.libvirt.domain_disks import label_of
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.devices import Card, CardChange, DeviceChange, Medium, NewMachine
from vm_mgr.ports.definition import Edited, LiveChange

__all__ = ["edited", "made"]

# A model that every x86-64-v2 processor has, and QEMU without KVM: the same one on all nodes, so that a live
# migration finds it everywhere. Without the check QEMU leaves out what a node can't provide.
CPU = "Nehalem"
# Places for disks and cards that are added while the guest runs; libvirt makes no spare ones on q35.
SPARE_PORTS = 10
REMOVABLE = ("cdrom", "floppy")
TEMPLATE = """\
<domain>
  <memory unit="KiB"/>
  <vcpu/>
  <os><type arch="x86_64" machine="q35">hvm</type><boot dev="hd"/><boot dev="cdrom"/></os>
  <features><acpi/><apic/></features>
  <cpu mode="custom" match="exact" check="none"><model fallback="allow"/></cpu>
  <clock offset="utc"/>
  <on_crash>restart</on_crash>
  <devices>
    <disk type="file" device="cdrom">
      <target dev="sda" bus="sata"/><readonly/>
    </disk>
    <controller type="pci" model="pcie-root"/>
    <controller type="usb" model="qemu-xhci"/>
    <serial type="pty"/>
    <console type="pty"/>
    <channel type="unix"><target type="virtio" name="org.qemu.guest_agent.0"/></channel>
    <input type="tablet" bus="usb"/>
    <graphics type="vnc" autoport="yes"><listen type="address" address="127.0.0.1"/></graphics>
    <video><model type="vga"/></video>
    <rng model="virtio"><backend model="random">/dev/urandom</backend></rng>
  </devices>
</domain>
"""


def made(machine: NewMachine) -> str:
    """Write the definition of a VM for which none is given; its hard disks are put in place later."""
    root = etree.fromstring(TEMPLATE, etree.XMLParser(remove_blank_text=True))
    root.set("type", "kvm" if machine.kvm else "qemu")
    _child(root, "memory").text = str(-(-machine.memory_bytes // 1024))
    _child(root, "vcpu").text = str(machine.vcpus)
    _child(root, "cpu/model").text = CPU
    devices = _child(root, "devices")
    for _ in range(SPARE_PORTS):
        etree.SubElement(devices, "controller", type="pci", model="pcie-root-port")
    for card in machine.cards:
        devices.append(_interface(card))
    _put_medium(_child(root, "devices/disk"), machine.iso)
    etree.indent(root)
    return etree.tostring(root, encoding="unicode")


def edited(root: etree._Element, change: DeviceChange) -> Edited:
    """Change a domain; raises NOT_FOUND for a card that it does not have, EXISTS for an address twice."""
    devices = _child(root, "devices")
    live, device = _card(devices, change) if isinstance(change, CardChange) else _medium(devices, change)
    etree.indent(root)
    return Edited(etree.tostring(root, encoding="unicode"), live, etree.tostring(device, encoding="unicode"))


def _card(devices: etree._Element, change: CardChange) -> tuple[LiveChange, etree._Element]:
    taken = {_mac(one): one for one in devices.iterfind("interface")}
    card = change.card
    if card is not None and card.mac in taken and card.mac != change.mac:
        hint = "choose another address, or leave it out"
        raise VmMgrError(Kind.EXISTS, f"it has a network card {card.mac} already", hint=hint)
    if not change.mac and card is not None:
        found = _interface(card)
        devices.append(found)
        return LiveChange.ATTACH, found
    if change.mac not in taken:
        hint = f"it has: {', '.join(filter(None, taken)) or 'none'}"
        raise VmMgrError(Kind.NOT_FOUND, f"it has no network card {change.mac}", hint=hint)
    found = taken[change.mac]
    if card is None:
        devices.remove(found)
        return LiveChange.DETACH, found
    _apply(found, card)
    # Only where it is plugged in can change while the guest runs.
    return LiveChange.NEXT_START if card.model or card.mac else LiveChange.UPDATE, found


def _interface(card: Card) -> etree._Element:
    found = etree.Element("interface", type="bridge")
    address = card.mac or "52:54:00:" + secrets.token_bytes(3).hex(":")
    _apply(found, card._replace(mac=address, model=card.model or "virtio"))
    return found


def _apply(found: etree._Element, card: Card) -> None:
    if card.bridge or card.network:
        kind = "bridge" if card.bridge else "network"
        found.set("type", kind)
        for tag in ("source", "virtualport", "vlan", "target"):  # of the network that it leaves
            for element in found.findall(tag):
                found.remove(element)
        found.insert(0, etree.Element("source", {kind: card.bridge or card.network}))
    for tag, key, value in (("mac", "address", card.mac), ("model", "type", card.model)):
        if value:
            had = found.find(tag)
            (etree.SubElement(found, tag) if had is None else had).set(key, value)


def _mac(interface: etree._Element) -> str:
    mac = interface.find("mac")
    return "" if mac is None else str(mac.get("address", "")).lower()


def _medium(devices: etree._Element, change: Medium) -> tuple[LiveChange, etree._Element]:
    drives = {label_of(one): one for kind in REMOVABLE for one in devices.iterfind(f"disk[@device='{kind}']")}
    optical = [one for one in drives.values() if one.get("device") == "cdrom"]
    has = f"it has: {', '.join(drives) or 'none'}"
    if change.drive:
        if change.drive not in drives:
            raise VmMgrError(Kind.NOT_FOUND, f"there is no drive {change.drive} for media", hint=has)
        optical = [drives[change.drive]]
    if len(optical) > 1:
        message = f"there are several optical drives: {', '.join(map(label_of, optical))}"
        raise VmMgrError(Kind.INVALID, message, hint=f"name one: --drive {label_of(optical[0])}")
    if not optical and not change.path:
        raise VmMgrError(Kind.NOT_FOUND, "there is no optical drive to empty", hint=f"--drive TARGET; {has}")
    # No drive on the buses of a new one can be attached.
    drive, live = (optical[0], LiveChange.UPDATE) if optical else (_drive(devices), LiveChange.NEXT_START)
    _put_medium(drive, change.path)
    return live, drive


def _drive(devices: etree._Element) -> etree._Element:
    taken = {one.get("dev") for one in devices.iterfind("disk/target")}
    bus, prefix = ("sata", "sd") if _is_q35(devices) else ("ide", "hd")
    target = next(prefix + letter for letter in "abcdefghijklmnopqrstuvwxyz" if prefix + letter not in taken)
    drive = etree.SubElement(devices, "disk", type="file", device="cdrom")
    etree.SubElement(drive, "target", dev=target, bus=bus)
    etree.SubElement(drive, "readonly")
    return drive


def _is_q35(devices: etree._Element) -> bool:
    system = devices.getparent()
    kind = None if system is None else system.find("os/type")
    return kind is not None and "q35" in str(kind.get("machine", ""))


def _put_medium(drive: etree._Element, path: str) -> None:
    for tag in ("source", "backingStore"):
        for element in drive.findall(tag):
            drive.remove(element)
    drive.set("type", "file")
    if path:
        # Where the file is missing the guest starts with an empty drive: no reason to stay down.
        drive.insert(0, etree.Element("source", file=path, startupPolicy="optional"))
        driver = drive.find("driver")
        if driver is not None:
            drive.remove(driver)
        drive.insert(0, etree.Element("driver", name="qemu", type="raw"))


def _child(root: etree._Element, path: str) -> etree._Element:
    found = root.find(path)
    assert found is not None  # noqa: S101 - of our own text, or problems() has looked
    return found

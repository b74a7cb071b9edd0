"""Read the devices of an OVF: on which bus its disks are, and which of its devices QEMU has.

ResourceType is that of CIM_ResourceAllocationSettingData (DMTF's DSP1041); the subtypes are VMware's and
VirtualBox's own words.
"""

from collections.abc import Callable, Iterator

from lxml import etree

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.numbers import whole_number
from vm_mgr.model.package import ApplianceCard, ApplianceDisk

__all__ = ["Items", "cards", "disks", "others"]

Items = list[tuple[str, dict[str, str]]]
HINT = "export the VM again, as one OVA with all its disks"
IDE, SCSI, CARD, FLOPPY, CD, DVD, DISK, SATA = "5", "6", "10", "14", "15", "16", "17", "20"
# Subtype → bus and model of the controller, in libvirt's words; QEMU has what the guest has seen before.
_CONTROLLERS = {
    "lsilogicsas": ("scsi", "lsisas1068"),
    "virtualscsi": ("scsi", "vmpvscsi"),
    "pvscsi": ("scsi", "vmpvscsi"),
    "virtioscsi": ("scsi", "virtio-scsi"),
    "virtio-scsi": ("scsi", "virtio-scsi"),
    "virtio": ("virtio", ""),
}
_MODELS = {
    "e1000": "e1000",
    "e1000e": "e1000e",
    "vmxnet3": "vmxnet3",
    "pcnet32": "pcnet",
    "pcnet": "pcnet",
    "virtio": "virtio",
    "virtio-net": "virtio",
}
USUAL_MODEL = "e1000"
_WORDS = {
    FLOPPY: "floppy drive",
    CD: "CD-ROM drive",
    DVD: "CD-ROM drive",
    "21": "serial port",
    "22": "parallel port",
    "23": "USB controller",
    "24": "video card (VGA instead)",
    "35": "sound card",
}
_TAKEN = ("3", "4", IDE, SCSI, CARD, DISK, SATA)


def disks(root: etree._Element, items: Items, bytes_of: Callable[[str], int]) -> Iterator[ApplianceDisk]:
    """Give the disks, by their controllers, then their places; the first is the system disk."""
    by_key = dict(items)
    order = list(by_key)
    found = [item for _, item in items if item.get("ResourceType") == DISK]

    def place(item: dict[str, str]) -> tuple[int, int]:
        parent = item.get("Parent", "")
        return order.index(parent) if parent in by_key else len(order), _place(item)

    known, files = _known(root, "Disk", "diskId"), _known(root, "File", "id")
    for item in sorted(found, key=place):
        ident = item.get("HostResource", "").rpartition("/")[2]
        disk = known.get(ident)
        if disk is None or "/disk/" not in f"/{item.get('HostResource', '')}":
            message = f"the OVF has a disk without content: {item.get('ElementName') or ident or '?'}"
            raise VmMgrError(Kind.INVALID, message, hint=HINT)
        bus, model = _bus(by_key.get(item.get("Parent", "")))
        size_bytes = _capacity(disk) * bytes_of(disk.get("capacityAllocationUnits") or "byte")
        yield ApplianceDisk(_file(disk, files), size_bytes, bus, model)


def cards(items: Items) -> Iterator[ApplianceCard]:
    """Give the network cards; one of a model that QEMU has not gets the usual one."""
    for _, item in items:
        if item.get("ResourceType") == CARD:
            model = _MODELS.get(item.get("ResourceSubType", "").lower(), USUAL_MODEL)
            yield ApplianceCard(item.get("Connection", ""), model, _mac(item.get("Address", "")))


def others(items: Items) -> Iterator[str]:
    """Name what is not taken over, or becomes something else."""
    in_use = {item.get("Parent") for _, item in items if item.get("ResourceType") == DISK}
    for key, item in items:
        kind, subtype = item.get("ResourceType", ""), item.get("ResourceSubType", "")
        if kind == CARD and subtype and subtype.lower() not in _MODELS:
            yield f"network card {subtype} ({USUAL_MODEL} instead)"
        elif kind in (SCSI, SATA) and key in in_use and _replaced(item):
            yield f"disk controller {subtype or 'SCSI'} (SATA instead)"
        elif kind in _WORDS:
            medium = item.get("HostResource", "").rpartition("/")[2]
            yield _WORDS[kind] + (f" with {medium}" if medium and kind in (CD, DVD, FLOPPY) else "")
        elif kind not in _TAKEN:
            yield item.get("ElementName") or item.get("Description") or subtype or f"device of type {kind}"


def _bus(controller: dict[str, str] | None) -> tuple[str, str]:
    """Choose what the guest knows; QEMU has no LSI Logic 53C1030, no BusLogic and no VMware NVMe."""
    if controller is None:
        return "virtio", ""
    if controller.get("ResourceType") == IDE:
        return "ide", ""
    return _CONTROLLERS.get(controller.get("ResourceSubType", "").lower(), ("sata", ""))


def _replaced(controller: dict[str, str]) -> bool:
    subtype = controller.get("ResourceSubType", "").lower()
    is_sata = controller.get("ResourceType") == SATA and "nvme" not in subtype
    return subtype not in _CONTROLLERS and not is_sata


def _known(root: etree._Element, tag: str, key: str) -> dict[str, dict[str, str]]:
    found = [one for one in root.iter(etree.Element) if etree.QName(one).localname == tag]
    plain = [{etree.QName(name).localname: str(value) for name, value in one.attrib.items()} for one in found]
    return {one[key]: one for one in plain if key in one}


def _file(disk: dict[str, str], files: dict[str, dict[str, str]]) -> str:
    """Name the file with a disk's content; an empty disk has none."""
    ident = disk.get("fileRef", "")
    if disk.get("parentRef"):
        message = f"the disk {disk.get('diskId')} holds only what differs from another one"
        raise VmMgrError(Kind.NOT_SUPPORTED, message, hint="remove the VM's snapshots, then export it again")
    if not ident:
        return ""
    file = files.get(ident)
    if file is None or not file.get("href"):
        raise VmMgrError(Kind.INVALID, f"the OVF names no file {ident}", hint=HINT)
    if file.get("chunkSize"):
        raise VmMgrError(Kind.NOT_SUPPORTED, f"{file['href']} is in several pieces", hint=HINT)
    return file["href"]


def _capacity(disk: dict[str, str]) -> int:
    count = whole_number(disk.get("capacity", ""))
    if not count:
        message = f"the OVF does not say how large the disk {disk.get('diskId')} is"
        raise VmMgrError(Kind.INVALID, message, hint=HINT)
    return count


def _place(item: dict[str, str]) -> int:
    return whole_number(item.get("AddressOnParent", "")) or 0


def _mac(address: str) -> str:
    """Write an address as libvirt does; nothing where it is none, or one of a group.

    >>> _mac("080027ABCDEF"), _mac("00:50:56:01:02:03"), _mac("7")
    ('08:00:27:ab:cd:ef', '00:50:56:01:02:03', '')
    """
    digits = address.replace(":", "").replace("-", "").lower()
    if len(digits) != 12 or any(one not in "0123456789abcdef" for one in digits) or int(digits[:2], 16) & 1:
        return ""
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))

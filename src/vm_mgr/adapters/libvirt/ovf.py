"""Read an OVF (DMTF's DSP0243, 1.1 and 2.0), with what VMware and VirtualBox add to it.

Elements and attributes are known by their local names: the namespaces differ by version and maker.
"""

import re
from collections.abc import Iterator

from lxml import etree

from vm_mgr.adapters.libvirt.ovf_devices import Items, cards, disks, others
from vm_mgr.adapters.libvirt.plain_xml import parse_plain
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.numbers import whole_number
from vm_mgr.model.package import Appliance

__all__ = ["read_ovf"]

HINT = "export the VM again, as OVF 1.0, 1.1 or 2.0"
CPU, MEMORY = "3", "4"
MEGABYTES = "byte * 2^20"
# Sections that are read, or say nothing that a VM has.
_READ = (
    *("Info", "Name", "AnnotationSection", "OperatingSystemSection", "VirtualHardwareSection"),
    *("InstallSection", "Machine"),
)
_WORDS = {"ProductSection": "properties of the product", "EulaSection": "license agreement"}
_UNIT = re.compile(r"bytes?\s*(?:\*\s*(2|10)\s*\^\s*(\d{1,2}))?", re.IGNORECASE)
_OLD_UNITS = {
    "kilobytes": 10,
    "kb": 10,
    "megabytes": 20,
    "mb": 20,
    "gigabytes": 30,
    "gb": 30,
    "terabytes": 40,
}


def read_ovf(raw: bytes) -> Appliance:
    """Give the one VM of an OVF."""
    root = parse_plain(raw, what="the OVF", hint=HINT)
    if _tag(root) != "Envelope":
        raise VmMgrError(Kind.INVALID, f"the OVF is a <{_tag(root)}>, not an <Envelope>", hint=HINT)
    system = _only_system(root)
    hardware = next(_children(system, "VirtualHardwareSection"), None)
    if hardware is None:
        raise VmMgrError(Kind.INVALID, "the OVF has no <VirtualHardwareSection>", hint=HINT)
    guest = _guest(system)
    if re.search(r"\barm|_arm|aarch64|ppc|sparc", guest):
        message = f"the guest is for another processor: {guest.strip()}"
        raise VmMgrError(Kind.NOT_SUPPORTED, message, hint="only guests for x86_64 can be imported")
    items = _items(root, hardware)
    options = _options(hardware)
    firmware = {options.get("firmware", ""), *(_value(one, "type") for one in _machine(system, "Firmware"))}
    vcpus, cores = _cpus(items)
    left = [*others(items), *_sections(root, system), *_unkept(system, options)]
    return Appliance(
        name=_text(system, "Name") or _value(system, "id"),
        memory_bytes=_memory_bytes(items),
        vcpus=vcpus,
        cores=cores,
        disks=tuple(disks(root, items, _bytes_of)),
        cards=tuple(cards(items)),
        efi=any(word.lower().startswith("efi") for word in firmware),
        windows="win" in guest.replace("darwin", ""),
        description=next((_text(one, "Annotation") for one in _children(system, "AnnotationSection")), ""),
        left=tuple(dict.fromkeys(left)),
    )


def _only_system(root: etree._Element) -> etree._Element:
    found = [one for one in root.iter(etree.Element) if _tag(one) == "VirtualSystem"]
    if len(found) == 1:
        return found[0]
    names = ", ".join(_value(one, "id") for one in found) or "none"
    message = f"the OVF has {len(found)} VMs, not one: {names}"
    raise VmMgrError(Kind.NOT_SUPPORTED, message, hint="export each VM by itself")


def _items(root: etree._Element, hardware: etree._Element) -> Items:
    """Give the devices of the configuration that counts; others say limits only (DSP0243, 8.3, 9.8)."""
    choices = [
        one
        for section in _children(root, "DeploymentOptionSection")
        for one in _children(section, "Configuration")
    ]
    chosen = next((one for one in choices if _value(one, "default") in ("true", "1")), None)
    chosen = choices[0] if chosen is None and choices else chosen
    wanted = "" if chosen is None else _value(chosen, "id")
    found: dict[str, etree._Element] = {}
    for number, item in enumerate(_children(hardware, "Item", "StorageItem", "EthernetPortItem")):
        configurations = _value(item, "configuration").split()
        if _value(item, "bound") in ("", "normal") and (not configurations or wanted in configurations):
            found[_text(item, "InstanceID") or _text(item, "InstanceId") or f"#{number}"] = item
    return [(key, {_tag(part): (part.text or "").strip() for part in item}) for key, item in found.items()]


def _cpus(items: Items) -> tuple[int, int]:
    for _, item in items:
        if item.get("ResourceType") == CPU:
            vcpus = whole_number(item.get("VirtualQuantity", "")) or 0
            cores = whole_number(item.get("CoresPerSocket", "")) or 1
            if vcpus:
                return vcpus, cores if vcpus % cores == 0 else 1
    raise VmMgrError(Kind.INVALID, "the OVF does not say how many CPUs the VM has", hint=HINT)


def _memory_bytes(items: Items) -> int:
    for _, item in items:
        if item.get("ResourceType") == MEMORY:
            count = whole_number(item.get("VirtualQuantity", "")) or 0
            if count:
                return count * _bytes_of(item.get("AllocationUnits") or MEGABYTES)
    raise VmMgrError(Kind.INVALID, "the OVF does not say how much memory the VM has", hint=HINT)


def _bytes_of(unit: str) -> int:
    """Give a unit in bytes (DSP0004, annex C, and the words of older OVFs).

    >>> _bytes_of("byte * 2^30"), _bytes_of("MegaBytes"), _bytes_of("byte")
    (1073741824, 1048576, 1)
    """
    if unit.lower() in _OLD_UNITS:
        return 1 << _OLD_UNITS[unit.lower()]
    found = _UNIT.fullmatch(unit.strip())
    if found is None:
        raise VmMgrError(Kind.INVALID, f"the OVF counts in an unknown unit: {unit[:40]!r}", hint=HINT)
    power: int = int(found[1] or 1) ** int(found[2] or 0)
    return power


def _guest(system: etree._Element) -> str:
    """Give all that is said of the guest's operating system, in small letters."""
    words = []
    for section in _children(system, "OperatingSystemSection"):
        words += [_value(section, "osType"), _text(section, "OSType"), _text(section, "Description")]
    words += [_value(one, "OSType") for one in _children(system, "Machine")]
    return " ".join(words).lower()


def _options(hardware: etree._Element) -> dict[str, str]:
    found = _children(hardware, "Config", "ExtraConfig")
    return {_value(one, "key"): _value(one, "value") for one in found}


def _unkept(system: etree._Element, options: dict[str, str]) -> Iterator[str]:
    """Name the settings that only their makers' programs know."""
    secure = ("bootOptions.efiSecureBootEnabled", "uefi.secureBoot.enabled")
    if any(options.get(key, "").lower() == "true" for key in secure):
        yield "Secure Boot"
    for one in _machine(system, "TrustedPlatformModule"):
        if _value(one, "type") not in ("", "None"):
            yield "TPM"
    if options.keys() - {"firmware", *secure}:
        yield "settings of VMware"
    if next(_children(system, "Machine"), None) is not None:
        yield "settings of VirtualBox"


def _sections(root: etree._Element, system: etree._Element) -> Iterator[str]:
    for one in system:
        if isinstance(one.tag, str) and _tag(one) not in _READ:
            yield _WORDS.get(_tag(one), _tag(one))
    for one in _children(root, "DeploymentOptionSection"):
        if sum(1 for _ in _children(one, "Configuration")) > 1:
            yield "further configurations (DeploymentOptionSection)"


def _machine(system: etree._Element, tag: str) -> Iterator[etree._Element]:
    """Look into what VirtualBox adds."""
    for machine in _children(system, "Machine"):
        yield from (one for one in machine.iter(etree.Element) if _tag(one) == tag)


def _children(element: etree._Element, *tags: str) -> Iterator[etree._Element]:
    return (one for one in element if isinstance(one.tag, str) and _tag(one) in tags)


def _text(element: etree._Element, tag: str) -> str:
    return next(((one.text or "").strip() for one in _children(element, tag)), "")


def _tag(element: etree._Element) -> str:
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def _value(element: etree._Element, name: str) -> str:
    return next(
        (str(value) for key, value in element.attrib.items() if etree.QName(key).localname == name), ""
    )

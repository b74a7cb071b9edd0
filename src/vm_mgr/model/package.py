"""Describe an appliance: what an OVF says of a VM, and the files of its package.

The words are those of DMTF's DSP0243 (OVF 1.1 and 2.0).
"""

import re
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import ImagePart

__all__ = ["LIBVIRT", "NONE", "Appliance", "ApplianceCard", "ApplianceDisk", "Package", "network_problems"]

# What a network card is connected to: a bridge, a network of libvirt's, or it is left out.
LIBVIRT, NONE = "network:", "none"
# Linux allows 15 bytes for the name of an interface; `/` and white space are in none.
_BRIDGE = re.compile(r"[^\s/:]{1,15}")


class Package(NamedTuple):
    """An OVA, or an OVF with its files beside it.

    path: of the OVA or OVF. description: the OVF, as bytes. files: by their names. sums: of the manifest, by
    name: the algorithm and the sum in hexadecimal; None where there is no manifest. signed: it has a
    certificate.
    """

    path: str
    description_name: str
    description: bytes
    files: dict[str, ImagePart]
    sums: dict[str, tuple[str, str]] | None = None
    signed: bool = False


class ApplianceDisk(NamedTuple):
    """A disk: the file that has its content, or none for an empty one; on which bus, with which controller.

    controller: the model in libvirt's words; empty for the bus's usual one.
    """

    file: str
    size_bytes: int
    bus: str
    controller: str = ""


class ApplianceCard(NamedTuple):
    """A network card: the name of its network in the package, its model in libvirt's words, its address."""

    network: str
    model: str
    mac: str = ""


class Appliance(NamedTuple):
    """A VM as an OVF describes it; left: what of it is not taken over, in words."""

    name: str
    memory_bytes: int
    vcpus: int
    cores: int
    disks: tuple[ApplianceDisk, ...]
    cards: tuple[ApplianceCard, ...]
    efi: bool = False
    windows: bool = False
    description: str = ""
    left: tuple[str, ...] = ()


def network_problems(target: str) -> list[VmMgrError]:
    """Refuse what no network card can be connected to.

    >>> [len(network_problems(one)) for one in ("br0", "network:default", "none", "", "br 0", "network:")]
    [0, 0, 0, 1, 1, 1]
    """
    name = target.removeprefix(LIBVIRT)
    if target == NONE or (name and name != target) or (name == target and _BRIDGE.fullmatch(target)):
        return []
    hint = f"give the name of a bridge, {LIBVIRT}NAME for a network of libvirt, or {NONE}"
    return [VmMgrError(Kind.INVALID, f"{target!r} is no network of a node", hint=hint)]

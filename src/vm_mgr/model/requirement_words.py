"""The words for what a VM requires of a node: a kind, and what of that kind (docs/design/0011).

A word is the end of a node attribute's name. So it has letters, digits, `.`, `-` and `_` only. What names a
thing is encoded after `has-KIND-`: a slash as `__`, any other byte as `_` and its two hexadecimal digits.
"""

import re
from typing import NamedTuple

__all__ = ["LONGEST", "MEDIUM", "Requirement", "cure", "is_word", "requirement", "text", "word"]

# Pacemaker keeps names of any length, but what is shown and logged with it does not.
LONGEST = 200
# What a VM starts without: its drive is empty then.
MEDIUM = "has-medium"


class Requirement(NamedTuple):
    """A word, read: its kind, and what of that kind (a name, a path, words with a dash between them)."""

    kind: str
    of: str = ""


class _Kind(NamedTuple):
    """How a kind is told to people; {} is what of the kind."""

    what: str
    cure: str


_KINDS = {
    "bridge": _Kind("the bridge {}", "make it there as on the other nodes: ip link show {}"),
    "link": _Kind("the network interface {}", "make it there as on the other nodes: ip link show {}"),
    "kvm": _Kind("hardware virtualisation (KVM)", "switch it on in the node's firmware: ls -l /dev/kvm"),
    "machine": _Kind("the machine type {}", "install the same version of QEMU there, or take an older type"),
    "has-address": _Kind("the address {}", "listen on an address that all nodes have, as 127.0.0.1"),
    "has-cpu": _Kind("CPU {}", "pin to CPUs that all nodes have: lscpu"),
    "has-efi": _Kind("UEFI firmware {}", "apt install ovmf"),
    "has-file": _Kind("{}", "have the same on all nodes, or leave it out"),
    "has-gl": _Kind("3D acceleration (virtio-gpu-gl)", "apt install qemu-system-modules-opengl"),
    "has-hugepages": _Kind("huge pages: {}", "reserve them at boot: hugepages= on the kernel's command line"),
    "has-mdev": _Kind("the mediated device {}", "make it there: mdevctl list"),
    "has-medium": _Kind("the medium {}", "copy it there, or eject it; without it the drive is empty"),
    "has-model": _Kind("the CPU model {}", "give the VM a <cpu> model that all nodes have"),
    "has-network": _Kind(
        "the active network {} of libvirt", "start it there: virsh net-start {} (which needs dnsmasq-base)"
    ),
    "has-nic": _Kind("the network card model {}", "take a model that its QEMU knows, as virtio"),
    "has-numa": _Kind("NUMA node {}", "name NUMA nodes that all nodes have: numactl --hardware"),
    "has-nwfilter": _Kind(
        "the network filter {} of libvirt", "define it there: virsh nwfilter-list; virsh nwfilter-define"
    ),
    "has-passt": _Kind("passt", "apt install passt"),
    "has-pci": _Kind("the PCI device {}", "pass through what all nodes have, or pin the VM: lspci -D"),
    "has-qxl": _Kind("QXL video", "apt install qemu-system-modules-spice, or take <video> virtio"),
    "has-scsi": _Kind("the SCSI device {}", "pass through what all nodes have, or pin the VM: lsscsi"),
    "has-secmodel": _Kind("the security model {}", "leave out its <seclabel>: libvirt takes the node's own"),
    "has-secret": _Kind(
        "the secret {} of libvirt",
        "define it there, and set its value: virsh secret-list; virsh secret-define",
    ),
    "has-spice": _Kind("SPICE", "apt install qemu-system-modules-spice, or take <graphics type='vnc'/>"),
    "has-tpm": _Kind("swtpm", "apt install swtpm swtpm-tools"),
    "has-usb": _Kind("the USB device {}", "pass through what all nodes have, or pin the VM: lsusb"),
    "has-virtiofs": _Kind("virtiofsd", "apt install virtiofsd"),
    "has-volume": _Kind(
        "{} (a volume of libvirt)",
        "start or refresh its pool there: virsh pool-list --all; virsh pool-refresh",
    ),
}
_BARE = frozenset({"kvm", "has-efi", "has-passt", "has-qxl", "has-spice", "has-tpm", "has-virtiofs"})
_WORD = re.compile(r"[A-Za-z0-9_.-]+")
_ENCODED = re.compile(r"__|_([0-9a-f]{2})")


def word(kind: str, of: str = "") -> str:
    """Make a word.

    >>> word("bridge", "br0"), word("kvm"), word("has-file", "/var/lib/a b_c.iso")
    ('bridge-br0', 'kvm', 'has-file-__var__lib__a_20b_5fc.iso')
    >>> word("has-usb", "1d6b:0002")
    'has-usb-1d6b_3a0002'
    """
    return f"{kind}-{_encoded(of) if kind.startswith('has-') else of}" if of else kind


def requirement(one: str) -> Requirement | None:
    """Read a word; None for one that is none of ours, as of a later version.

    >>> requirement("has-file-__var__lib__a_20b_5fc.iso"), requirement("kvm")
    (Requirement(kind='has-file', of='/var/lib/a b_c.iso'), Requirement(kind='kvm', of=''))
    >>> requirement("role"), requirement("bridge-"), requirement("kvm-x"), requirement("has-tea-pot")
    (None, None, None, None)
    """
    parts = one.split("-")
    kind = "-".join(parts[: 2 if parts[0] == "has" else 1])
    of = one[len(kind) + 1 :]
    if kind not in _KINDS or not _WORD.fullmatch(one) or one.endswith("-") or (not of and kind not in _BARE):
        return None
    if of and kind in _BARE - {"has-efi"}:
        return None
    return Requirement(kind, _decoded(of) if kind.startswith("has-") else of)


def is_word(one: str) -> bool:
    """Tell whether it is one."""
    return requirement(one) is not None


def text(one: str) -> str:
    """Say for people what is required.

    >>> text("has-file-__boot__vmlinuz"), text("has-hugepages-2048-1048576"), text("has-efi")
    ('/boot/vmlinuz', 'huge pages: 1024 MiB in pages of 2048 KiB', 'UEFI firmware')
    """
    found = requirement(one)
    return one if found is None else _KINDS[found.kind].what.format(_of(found)).strip()


def cure(one: str) -> str:
    """Say what can be done where it is missing.

    >>> cure("has-tpm"), cure("has-network-default")
    ('apt install swtpm swtpm-tools', 'start it there: virsh net-start default (which needs dnsmasq-base)')
    """
    found = requirement(one)
    return "" if found is None else _KINDS[found.kind].cure.format(_of(found))


def _of(found: Requirement) -> str:
    """Leave out what people know: for which architecture a type or model is."""
    first, _, rest = found.of.partition("-")
    match found.kind:
        case "machine" | "has-nic":
            return rest
        case "has-model":
            return rest.partition("-")[2]
        case "has-efi":
            return f"for {found.of}" if found.of else ""
        case "has-hugepages":
            size = "pages of the usual size" if first == "default" else f"pages of {first} KiB"
            return f"{int(rest) >> 10} MiB in {size}" if rest.isdecimal() and int(rest) else size
        case _:
            return found.of


def _encoded(plain: str) -> str:
    raw = (chr(one) for one in plain.encode())
    return "".join(one if one.isascii() and (one.isalnum() or one in ".-") else _escape(one) for one in raw)


def _escape(one: str) -> str:
    return "__" if one == "/" else f"_{ord(one):02x}"


def _decoded(coded: str) -> str:
    raw = _ENCODED.sub(lambda found: chr(int(found[1], 16)) if found[1] else "/", coded)
    return raw.encode("latin-1", "replace").decode("utf-8", "replace")

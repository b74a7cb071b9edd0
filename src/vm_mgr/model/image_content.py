"""Tell what a file is by its bytes: a disk image, something packed, or neither.

The signatures are those of each format's specification: docs/interop/ and block/ in QEMU, VMware's Virtual
Disk Format 5.0, Microsoft's VHD and VHDX specifications, ECMA-119 (ISO 9660), UEFI 5.3, POSIX (tar).
"""

import bz2
import lzma
import zlib
from shlex import quote
from typing import NamedTuple

__all__ = [
    "FORMATS",
    "HEAD_BYTES",
    "TAIL_BYTES",
    "Content",
    "Packing",
    "format_word",
    "recognise",
    "unpacking",
]

# What an import takes, in qemu-img's words; people may say the others.
FORMATS = ("raw", "qcow2", "qcow", "qed", "vmdk", "vdi", "vhdx", "vpc")
_ALIASES = {"vhd": "vpc", "img": "raw", "iso": "raw"}
# The last signature, that of btrfs, is at 64 KiB.
HEAD_BYTES, TAIL_BYTES = 68 << 10, 512
PEEK_BYTES = 1024


class Packing(NamedTuple):
    """How a file is packed: the word for it, the command that unpacks it, and its file names' ending.

    A command that ends in `>` writes the one file that is in it; any other one makes all that are.
    """

    word: str
    command: str
    ending: str = ""


class Content(NamedTuple):
    """What a file is: what in words; format: of an image, in qemu-img's words, or empty.

    packing: how it is packed. foreign: a format that qemu-img reads and an import does not. text: a web page
    or another text.
    """

    what: str = ""
    format: str = ""
    packing: Packing | None = None
    foreign: str = ""
    text: bool = False


ZIP = Packing("zip", "unzip")
TAR = Packing("tar", "tar -xf")
# Signature at the beginning → packing.
_PACKED = {
    b"\x1f\x8b\x08": Packing("gzip", "gzip -dc >", ".gz"),
    b"\xfd7zXZ\0": Packing("xz", "xz -dc >", ".xz"),
    b"BZh": Packing("bzip2", "bzip2 -dc >", ".bz2"),
    b"\x28\xb5\x2f\xfd": Packing("zstd", "zstd -dc >", ".zst"),
    b"\x04\x22\x4d\x18": Packing("lz4", "lz4 -dc >", ".lz4"),
    b"\x02\x21\x4c\x18": Packing("lz4", "lz4 -dc >", ".lz4"),
    b"\x5d\0\0": Packing("lzma", "xz --format=lzma -dc >", ".lzma"),
    b"LZIP": Packing("lzip", "lzip -dc >", ".lz"),
    b"\x89LZO\0\r\n\x1a\n": Packing("lzop", "lzop -dc >", ".lzo"),
    b"\x1f\x9d": Packing("compress", "gzip -dc >", ".Z"),
    b"PK\x03\x04": ZIP,
    b"PK\x05\x06": ZIP,
    b"PK\x07\x08": ZIP,
    b"7z\xbc\xaf\x27\x1c": Packing("7z", "7z x"),
    b"Rar!\x1a\x07": Packing("rar", "unar"),
    b"MSCF": Packing("cab", "cabextract"),
    b"MSWIM\0\0\0": Packing("wim", "7z x"),
    b"VMA\0": Packing("Proxmox backup", "vma extract"),
    b"!<arch>\n": Packing("ar", "ar x"),
}
# zstd lets frames that are to be skipped come first.
_PACKED |= {bytes((0x50 + low, 0x2A, 0x4D, 0x18)): _PACKED[b"\x28\xb5\x2f\xfd"] for low in range(16)}
# Place and signature → format.
_IMAGES = (
    (0, b"QFI\xfb\0\0\0\x01", "qcow"),
    (0, b"QFI\xfb", "qcow2"),
    (0, b"QED\0", "qed"),
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"vhdxfile", "vhdx"),
    (64, b"\x7f\x10\xda\xbe", "vdi"),
)
_FOREIGN = (
    (0, b"WithoutFreeSpace", "parallels"),
    (0, b"WithouFreSpacExt", "parallels"),
    (0, b"Bochs Virtual HD Image", "bochs"),
    (0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop", "cloop"),
)
# Place and signature → what a raw disk has there.
_RAW = (
    *((32769, b"CD001", "an ISO 9660 image"), (32769, b"BEA01", "a UDF image")),
    *((512, b"EFI PART", "a disk with a GPT"), (4096, b"EFI PART", "a disk with a GPT")),
    *((1080, b"\x53\xef", "an ext file system"), (0, b"XFSB", "an XFS file system")),
    *((65600, b"_BHRfS_M", "a btrfs file system"), (1024, b"\x10\x20\xf5\xf2", "an F2FS file system")),
    *((512, b"LABELONE", "an LVM volume"), (4096, b"\xfc\x4e\x2b\xa9", "a member of an MD RAID")),
    *((4086, b"SWAPSPACE2", "swap space"), (0, b"hsqs", "a squashfs file system")),
    *(
        (510, b"\x55\xaa", "a disk with a boot sector"),
        (512, b"PM\0\0", "a disk with an Apple partition map"),
    ),
)
_LUKS = (b"LUKS\xba\xbe", b"SKUL\xba\xbe")
_TEXTS = (b"<!doctype html", b"<html", b"<?xml", b"<envelope", b"version https://git-lfs", b"{", b"[")


def format_word(word: str) -> str | None:
    """Give qemu-img's word for a format; None for one that an import does not take.

    >>> format_word("VHD"), format_word("qcow2"), format_word("nbd")
    ('vpc', 'qcow2', None)
    """
    said = word.lower()
    found = _ALIASES.get(said, said)
    return found if found in FORMATS else None


def recognise(head: bytes, tail: bytes) -> Content:
    """Tell what a file is by its first HEAD_BYTES and last TAIL_BYTES; of a shorter one, all of them.

    >>> recognise(b"QFI\\xfb\\0\\0\\0\\x03", b"").format
    'qcow2'
    >>> recognise(bytes(1024), b"").what
    ''
    """
    if tail.startswith(b"conectix") or head.startswith(b"conectix"):
        return Content("a VHD image", "vpc")
    if tail.startswith(b"koly"):
        return Content("a DMG image", foreign="dmg")
    for at, signature, name in _IMAGES:
        if _has(head, at, signature):
            return Content(f"a {name} image", name)
    for at, signature, name in _FOREIGN:
        if _has(head, at, signature):
            return Content(f"a {name} image", foreign=name)
    if b"# Disk DescriptorFile" in head[:512]:
        return Content("the description of a split vmdk image", "vmdk")
    return _packed(head) or _raw(head) or _other(head)


def unpacking(packing: Packing, path: str) -> str:
    """Give the command that unpacks a file.

    >>> unpacking(_PACKED[b"BZh"], "a b.img.bz2")
    "bzip2 -dc 'a b.img.bz2' >'a b.img'"
    >>> unpacking(TAR, "a.tgz")
    'tar -xf a.tgz'
    """
    if not packing.command.endswith(" >"):
        return f"{packing.command} {quote(path)}"
    ending = packing.ending
    target = path[: -len(ending)] if path.endswith(ending) else f"{path}.unpacked"
    return f"{packing.command[:-2]} {quote(path)} >{quote(target)}"


def _has(head: bytes, at: int, signature: bytes) -> bool:
    return head[at : at + len(signature)] == signature


def _packed(head: bytes) -> Content | None:
    if _is_tar(head):
        return Content("a tar archive", packing=TAR)
    for signature, packing in _PACKED.items():
        if head.startswith(signature) and (signature != b"BZh" or head[4:10] == b"1AY&SY"):
            inner = _is_tar(_peek(packing.word, head))
            return Content(f"packed ({packing.word})", packing=_tar_in(packing) if inner else packing)
    return None


def _tar_in(packing: Packing) -> Packing:
    """Let tar find out by itself how an archive is compressed."""
    return Packing(f"tar, {packing.word}", TAR.command)


def _peek(word: str, head: bytes) -> bytes:
    """Unpack the beginning; nothing where Python can't."""
    try:
        if word == "gzip":
            return zlib.decompressobj(31).decompress(head, PEEK_BYTES)
        if word in ("xz", "lzma"):
            return lzma.LZMADecompressor().decompress(head, PEEK_BYTES)
        return bz2.BZ2Decompressor().decompress(head, PEEK_BYTES) if word == "bzip2" else b""
    except (zlib.error, lzma.LZMAError, OSError, EOFError):
        return b""


def _is_tar(head: bytes) -> bool:
    """Look for the signature of POSIX, or a header whose checksum is right: older archives have no more."""
    if _has(head, 257, b"ustar"):
        return True
    block, digits = head[:512], head[148:156].strip(b" \0")
    if len(block) < 512 or not block[0] or not digits.isdigit() or any(one > 0x37 for one in digits):
        return False
    return sum(block[:148]) + sum(block[156:]) + 8 * 0x20 == int(digits, 8)


def _raw(head: bytes) -> Content | None:
    if head.startswith(_LUKS):
        return Content("encrypted (LUKS)")
    return next((Content(what, "raw") for at, signature, what in _RAW if _has(head, at, signature)), None)


def _other(head: bytes) -> Content:
    start = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(_TEXTS):
        return Content("a text, no image", text=True)
    return Content()

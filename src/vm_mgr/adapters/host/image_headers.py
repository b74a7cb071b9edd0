"""Read an image's header before any program opens the image: qemu-img would open the files that it names.

An image can name any file of this machine, a device that never answers, or an address in the network.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_mgr.adapters.host.image_bytes import ImageBytes

__all__ = ["Header", "read_header"]

SECTOR = 512
NAME_MAX, EXTENSIONS_MAX, DESCRIPTION_MAX = 4096, 64, 1 << 20
# qcow2.txt: incompatible features.
DIRTY, CORRUPT, DATA_FILE = 1, 2, 4
DATA_FILE_NAME = 0x44415441
CRYPTS = {1: "AES", 2: "LUKS"}
# qed_spec.txt: features.
QED_BACKING, QED_NEED_CHECK = 1, 2
NO_PARENT = "ffffffff"
DIFFERENCING = 4
_EXTENT = re.compile(r'^\s*(?:RW|RDONLY|NOACCESS)\s+\d+\s+\w+(?:\s+"([^"\n]*)")?', re.MULTILINE)


class Header(NamedTuple):
    """What of a header keeps an image from being imported, or is to be told.

    others: the files that it takes its content from. encrypted: how. unclean: it was not closed as it should
    be, or is open. piece: it is one of several files that only make a disk together. damage: in words.
    """

    others: tuple[str, ...] = ()
    encrypted: str = ""
    unclean: str = ""
    piece: bool = False
    damage: str = ""


def read_header(data: ImageBytes, image_format: str) -> Header:
    """Read the header of a format; of others there is nothing to say."""
    reader = _READERS.get(image_format)
    return Header() if reader is None else reader(data)


def _qcow2(data: ImageBytes) -> Header:
    """Follow docs/interop/qcow2.txt; version 2 ends after 72 bytes."""
    version, crypt = data.number(4, 4), data.number(32, 4)
    features = data.number(72, 8) if version >= 3 else 0
    others = [_name(data, data.number(8, 8), data.number(16, 4))] if data.number(8, 8) else []
    if features & DATA_FILE:
        others.append(_data_file(data, data.number(100, 4)))
    unclean = "it is marked as corrupt" if features & CORRUPT else ""
    if features & DIRTY and not unclean:
        unclean = "it was not closed cleanly, or a VM has it open"
    return Header(tuple(others), CRYPTS.get(crypt, "unknown") if crypt else "", unclean)


def _data_file(data: ImageBytes, at: int) -> str:
    """Look through the header's extensions for the name of the file with the data."""
    for _ in range(EXTENSIONS_MAX):
        kind, count = data.number(at, 4), data.number(at + 4, 4)
        if kind == DATA_FILE_NAME:
            return _name(data, at + 8, count)
        if not kind:
            break
        at += 8 + -(-count // 8) * 8
    return "a data file"


def _qcow(data: ImageBytes) -> Header:
    """Version 1 (QEMU's block/qcow.c)."""
    others = (_name(data, data.number(8, 8), data.number(16, 4)),) if data.number(8, 8) else ()
    crypt = data.number(36, 4)
    return Header(others, CRYPTS.get(crypt, "unknown") if crypt else "")


def _qed(data: ImageBytes) -> Header:
    features = data.number(16, 8, "little")
    others = (_name(data, data.number(56, 4, "little"), data.number(60, 4, "little")),)
    unclean = "it was not closed cleanly, or a VM has it open" if features & QED_NEED_CHECK else ""
    return Header(others if features & QED_BACKING else (), unclean=unclean)


def _vpc(data: ImageBytes) -> Header:
    """The footer is the last sector; one that grows has a copy of it at the beginning."""
    if not data.tail.startswith(b"conectix"):
        return Header(damage="its footer, which is its last sector, is missing")
    kind = int.from_bytes(data.tail[60:64], "big")
    if kind == DIFFERENCING:
        return Header(others=("another VHD (it is a differencing disk)",))
    return Header()


def _vmdk(data: ImageBytes) -> Header:
    """Follow VMware's Virtual Disk Format: a text that names the pieces, or one file with the text inside."""
    if data.read(0, 4) == b"COWD":
        return Header(piece=True)
    if data.read(0, 4) != b"KDMV":
        text = _text(data.read(0, DESCRIPTION_MAX))
        return Header(_extents(text) or ("other files",), _encrypted(text))
    at, count = data.number(28, 8, "little"), data.number(36, 8, "little")
    if data.read(73, 4) not in (b"\n \r\n", b""):
        return Header(damage="its line ends are changed, as a copy in text mode changes them")
    if at == 0:
        return Header(piece=True)
    text = _text(data.read(at * SECTOR, min(count * SECTOR, DESCRIPTION_MAX)))
    extents, parent = _extents(text), _value(text, "parentCID")
    others = extents if len(extents) > 1 or data.number(12, 8, "little") == 0 else ()
    if parent and parent.lower() != NO_PARENT:
        others += (_value(text, "parentFileNameHint") or "another vmdk",)
    unclean = "it was not closed cleanly, or a VM has it open" if data.number(72, 1) else ""
    return Header(others, _encrypted(text), unclean)


def _extents(text: str) -> tuple[str, ...]:
    return tuple(name for name in _EXTENT.findall(text) if name)


def _encrypted(text: str) -> str:
    return "VMware" if re.search(r"^\s*encryption\.", text, re.MULTILINE) else ""


def _value(text: str, key: str) -> str:
    found = re.search(rf'^\s*{key}\s*=\s*"?([^"\n]*)', text, re.MULTILINE)
    return found[1].strip() if found else ""


def _name(data: ImageBytes, at: int, count: int) -> str:
    return data.read(at, min(count, NAME_MAX)).decode("utf-8", "backslashreplace") or "another file"


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "backslashreplace")


_READERS: dict[str, Callable[[ImageBytes], Header]] = {
    "qcow2": _qcow2,
    "qcow": _qcow,
    "qed": _qed,
    "vmdk": _vmdk,
    "vpc": _vpc,
}

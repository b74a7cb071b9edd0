"""Find out whether the last compressed piece of an image is whole: qemu-img does not tell where those are.

What of a compressed piece is missing QEMU reads as zeros, which can be unpacked into anything.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from vm_mgr.adapters.host.image_bytes import ImageBytes

__all__ = ["compressed_damage"]

SECTOR = 512
COMPRESSED = 1 << 62
COMPRESSED_V1 = 1 << 63
OFFSET = (1 << 56) - SECTOR
EXTENDED_L2, COMPRESSION = 1 << 4, 1 << 3
# VMware's Virtual Disk Format: a flag of the header, and where it says that a copy at the end counts.
VMDK_COMPRESSED, AT_END = 1 << 16, (1 << 64) - 1
MARKER = 12


def compressed_damage(data: ImageBytes, image_format: str) -> str:
    """Say what of the compressed pieces is missing; nothing where they are whole, or there are none."""
    reader = _READERS.get(image_format)
    return "" if reader is None else reader(data)


def _qcow2(data: ImageBytes) -> str:
    bits, features = data.number(20, 4), data.number(72, 8) if data.number(4, 4) >= 3 else 0
    if not 9 <= bits <= 21:
        return ""  # qemu-img has refused it
    tables = _table(data, data.number(40, 8), data.number(36, 4), "Q")
    size, step = 1 << bits, 2 if features & EXTENDED_L2 else 1
    place = 62 - (bits - 8)
    last, end = 0, 0
    for table in tables:
        entries = _table(data, table & OFFSET, size // 8, "Q")[::step] if table & OFFSET else ()
        for entry in (one for one in entries if COMPRESSED <= one < 2 * COMPRESSED):
            at = entry & ((1 << place) - 1)
            if at > last:
                sectors = (entry >> place & ((1 << (bits - 8)) - 1)) + 1
                last, end = at, at // SECTOR * SECTOR + sectors * SECTOR
    if end - data.size_bytes >= SECTOR:
        return _cut(end, data)
    if last and not (features & COMPRESSION) and not _is_whole(data.read(last, end - last)):
        return _cut(end, data)
    return ""


def _is_whole(raw: bytes) -> bool:
    """Tell whether a stream has its end, which the last sector need not fill."""
    stream = zlib.decompressobj(-15)
    try:
        stream.decompress(raw)
    except zlib.error:
        return False
    return stream.eof


def _qcow(data: ImageBytes) -> str:
    """Version 1 (QEMU's block/qcow.c)."""
    bits, l2_bits, size = data.number(32, 1), data.number(33, 1), data.number(24, 8)
    if not (9 <= bits <= 16 and 6 <= l2_bits <= 13):
        return ""
    count = -(-size >> (bits + l2_bits)) if size else 0
    end = 0
    for table in _table(data, data.number(40, 8), count, "Q"):
        for entry in _table(data, table, 1 << l2_bits, "Q") if table else ():
            if entry & COMPRESSED_V1:
                at = entry & ((1 << (63 - bits)) - 1)
                end = max(end, at + (entry >> (63 - bits) & ((1 << bits) - 1)))
    return _cut(end, data) if end > data.size_bytes else ""


def _vmdk(data: ImageBytes) -> str:
    """Read where the grains are; before each is its marker, with its length."""
    header = 0
    if data.number(56, 8, "little") == AT_END:
        header = data.size_bytes - 2 * SECTOR
        if data.read(header, 4) != b"KDMV":
            return "its footer, which is before its last sector, is missing"
    if not data.number(header + 8, 4, "little") & VMDK_COMPRESSED:
        return ""
    grain, per_table = data.number(header + 20, 8, "little"), data.number(header + 44, 4, "little")
    if not (grain and per_table):
        return ""
    count = -(-data.number(header + 12, 8, "little") // (grain * per_table))
    directory = _table(data, data.number(header + 56, 8, "little") * SECTOR, count, "I")
    last = max(_grains(data, directory, per_table), default=0) * SECTOR
    end = last + MARKER + data.number(last + 8, 4, "little") if last else 0
    return _cut(end, data) if end > data.size_bytes else ""


def _grains(data: ImageBytes, directory: Iterable[int], per_table: int) -> Iterator[int]:
    for table in directory:
        if table:
            yield max(_table(data, table * SECTOR, per_table, "I"), default=0)


def _table(data: ImageBytes, at: int, count: int, kind: str) -> array[int]:
    """Read a table, as far as it is there: Q for 8 bytes, big-endian, I for 4 bytes, little-endian."""
    found = array(kind)
    raw = data.read(at, count * found.itemsize)
    found.frombytes(raw[: len(raw) // found.itemsize * found.itemsize])
    if (sys.byteorder == "little") == (kind == "Q"):
        found.byteswap()
    return found


def _cut(end: int, data: ImageBytes) -> str:
    return f"its data go on to byte {end}, it ends at {data.size_bytes}"


_READERS: dict[str, Callable[[ImageBytes], str]] = {"qcow2": _qcow2, "qcow": _qcow, "vmdk": _vmdk}

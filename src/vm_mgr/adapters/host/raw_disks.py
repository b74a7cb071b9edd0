"""Find out where a raw disk has to end, by its partition table or the file system that it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_mgr.adapters.host.image_bytes import ImageBytes

__all__ = ["raw_damage", "raw_losses"]

SECTOR = 512
GPT = b"EFI PART"
PROTECTIVE = 0xEE


class End(NamedTuple):
    """Who says where the disk ends, and where that is."""

    who: str
    at_bytes: int


def raw_damage(data: ImageBytes) -> str:
    """Say what of a raw disk is missing; nothing where it is whole as far as can be seen."""
    for end in _ends(data):
        if end.at_bytes > data.size_bytes:
            return f"{end.who} is for {end.at_bytes} bytes, it has {data.size_bytes}"
    return ""


def raw_losses(data: ImageBytes) -> tuple[str, ...]:
    """Say that the copy of a GPT is missing: a download that a program makes in full length lacks its end."""
    at = _gpt(data)[0]
    if at == 0 or data.read(at, len(GPT)) == GPT:
        return ()
    return (f"the copy of its partition table, at byte {at}, is missing: it may be half an image",)


def _ends(data: ImageBytes) -> Iterator[End]:
    """Ask the partition table, and where there is none the file system: what is left of older ones lies."""
    partitions = list(_partitions(data))
    at, sector = _gpt(data)
    if at:
        yield End("its partition table", at + sector)
    for first, count, kind in partitions:
        if not at and kind != PROTECTIVE:
            yield End("its partition table", (first + count) * SECTOR)
    yield from _iso(data)
    if not (at or partitions):
        yield from _file_systems(data)


def _gpt(data: ImageBytes) -> tuple[int, int]:
    """Tell where the copy of a GPT is, which has to be the last sector, and how large sectors are.

    UEFI, 5.3.2. One beside partitions of an MBR that does not protect it is left of an older use.
    """
    kinds = [kind for _, _, kind in _partitions(data)]
    for sector in (SECTOR, 4096) if not kinds or PROTECTIVE in kinds else ():
        if data.read(sector, len(GPT)) == GPT:
            return data.number(sector + 32, 8, "little") * sector, sector
    return 0, 0


def _partitions(data: ImageBytes) -> Iterator[tuple[int, int, int]]:
    """Give first sector, size and kind of the partitions of an MBR.

    The boot sector of a file system has code in their place.
    """
    sector = data.read(0, SECTOR)
    entries = [sector[at : at + 16] for at in range(446, 510, 16)]
    if sector[510:] != b"\x55\xaa" or _is_boot_sector(sector) or any(one[0] & 0x7F for one in entries):
        return
    for entry in entries:
        first, count = int.from_bytes(entry[8:12], "little"), int.from_bytes(entry[12:], "little")
        if entry[4] and count:
            yield first, count, entry[4]


def _is_boot_sector(sector: bytes) -> bool:
    return sector[3:11] in (b"NTFS    ", b"EXFAT   ") or b"FAT" in (sector[54:57], sector[82:85])


def _iso(data: ImageBytes) -> Iterator[End]:
    """Read the size in the first volume descriptor (ECMA-119, 8.4.8 and 8.4.12)."""
    if data.read(32769, 5) == b"CD001" and data.number(32768, 1) == 1:
        yield End("its volume descriptor", data.number(32848, 4, "little") * data.number(32896, 2, "little"))


def _file_systems(data: ImageBytes) -> Iterator[End]:
    """Read the sizes in the superblocks: Linux's fs/, ext4/super.rst, xfs_format.h, ntfs.h, squashfs_fs.h."""
    if data.read(1080, 2) == b"\x53\xef":
        high = data.number(1024 + 0x150, 4, "little") if data.number(1024 + 0x60, 4, "little") & 0x80 else 0
        blocks = data.number(1024 + 4, 4, "little") + (high << 32)
        yield End("its ext file system", blocks << (10 + data.number(1024 + 24, 4, "little") % 7))
    if data.read(0, 4) == b"XFSB":
        yield End("its XFS file system", data.number(8, 8) * data.number(4, 4))
    if data.read(65600, 8) == b"_BHRfS_M":
        yield End("its btrfs file system", data.number(65536 + 0xC9 + 8, 8, "little"))
    if data.read(0, 4) == b"hsqs":
        yield End("its squashfs file system", data.number(40, 8, "little"))
    if data.read(3, 8) == b"NTFS    ":
        yield End("its NTFS", data.number(40, 8, "little") * data.number(11, 2, "little"))
    elif data.read(3, 8) == b"EXFAT   ":
        yield End("its exFAT", data.number(72, 8, "little") << min(data.number(108, 1), 12))
    elif data.read(510, 2) == b"\x55\xaa" and b"FAT" in (data.read(54, 3), data.read(82, 3)):
        sectors = data.number(19, 2, "little") or data.number(32, 4, "little")
        yield End("its FAT", sectors * data.number(11, 2, "little"))
    if data.read(512, 8) == b"LABELONE":
        yield End("its LVM volume", data.number(512 + 32 + data.number(532, 4, "little"), 8, "little"))
    if data.read(4086, 10) == b"SWAPSPACE2":
        yield End("its swap space", (data.number(1028, 4, "little") + 1) * 4096)

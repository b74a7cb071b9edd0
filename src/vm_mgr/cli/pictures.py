"""Write a picture as PNG: QEMU may give PPM, which few programs show."""

import struct
import zlib

__all__ = ["as_png"]


def as_png(picture: bytes) -> bytes:
    """Turn PPM (P6, 8 bits) into PNG (RFC 2083); anything else stays as it is.

    >>> as_png(b"P6 1 1 255 abc")[:4]
    b'\\x89PNG'
    >>> as_png(b"GIF")
    b'GIF'
    """
    words = picture.split(maxsplit=4)
    if len(words) < 4 or words[0] != b"P6" or words[3] != b"255":
        return picture
    width, height = int(words[1]), int(words[2])
    pixels = picture[len(picture) - 3 * width * height :]
    lines = (b"\0" + pixels[start : start + 3 * width] for start in range(0, len(pixels), 3 * width))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(lines))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, parts))


def _chunk(part: tuple[bytes, bytes]) -> bytes:
    whole = b"".join(part)
    return struct.pack(">I", len(part[1])) + whole + struct.pack(">I", zlib.crc32(whole))

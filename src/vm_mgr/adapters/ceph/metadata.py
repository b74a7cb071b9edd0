"""Read and write an image's metadata by key, whatever the values are.

The binding's metadata_list (Ceph's src/pybind/rbd/rbd.pyx) splits what it gets at NUL bytes and drops what is
empty: after one empty value all others stand beside the wrong keys. So this asks the class of the header's
object as librbd does (metadata_list in src/cls/rbd/cls_rbd.cc). It needs no rbd, and opens no image.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.ceph.connection import load_rados
from vm_mgr.errors import Kind, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["parse_page", "raw_text", "read_all", "render_question", "text_of", "write_changes"]

ID, HEADER = "rbd_id.", "rbd_header."
PAGE = 64  # what Ceph gives at most to whoever asks for any number
ROOM = 1 << 16
MOST_ROOM = 1 << 28
# librbd hides its own keys from its users.
INTERNAL = ".rbd"


def read_all(ioctx: Any, image_name: str) -> dict[str, str] | None:
    """Read all keys of an image, or None where there is no such image; raises rados' errors."""
    rados = load_rados()
    found: dict[bytes, bytes] = {}
    try:
        (ident,) = _texts(ioctx.read(ID + image_name), 1)
        header = HEADER + ident.decode()
        while True:
            page = parse_page(_ask(ioctx, header, render_question(max(found, default=b""), PAGE)))
            found |= page
            if len(page) < PAGE:
                break
    except rados.ObjectNotFound:
        return None
    except ValueError as error:
        message = f"Ceph's answer about the metadata of {image_name} can't be read"
        raise VmMgrError(
            Kind.EXTERNAL_FAILURE, message, hint=f"look: rbd image-meta list {image_name}"
        ) from error
    texts = {text_of(key): text_of(value) for key, value in found.items()}
    return {key: value for key, value in texts.items() if not key.startswith(INTERNAL)}


def write_changes(image: Any, present: Mapping[str, str], wanted: Mapping[str, str | None]) -> None:
    """Write what differs; None and an empty value take a key away, as SEAPATH's tools misread empty ones."""
    changed = {key: value for key, value in wanted.items() if present.get(key) != value}
    raw = {raw_text(key): raw_text(value) for key, value in changed.items() if value}
    gone = [raw_text(key) for key, value in wanted.items() if not value and key in present]
    for key, value in raw.items():
        image.metadata_set(key, value)
    for key in gone:
        image.metadata_remove(key)


def render_question(after: bytes, count: int) -> bytes:
    """Encode what is asked for: so many keys after this one, in the order of their bytes.

    >>> render_question(b"a", 2).hex()
    '01000000610200000000000000'
    """
    return len(after).to_bytes(4, "little") + after + count.to_bytes(8, "little")


def parse_page(raw: bytes) -> dict[bytes, bytes]:
    """Decode keys and values: their number, then each with its length before it; raises ValueError.

    >>> parse_page(bytes.fromhex("01000000 01000000 61 00000000"))
    {b'a': b''}
    """
    texts = _texts(raw[4:], 2 * _length(raw, 0))
    return dict(zip(texts, texts, strict=True))


def text_of(raw: bytes) -> str:
    r"""Give bytes as text; what is no UTF-8 stays as it is when it is written again.

    >>> raw_text(text_of(b"\xff\xc3\xb6\0"))
    b'\xff\xc3\xb6\x00'
    """
    return raw.decode(errors="surrogateescape")


def raw_text(text: str) -> bytes:
    """Give the bytes of a text; raises INVALID for one that has none."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError as error:
        message = f"{text[:40]!r} is no text that can be stored"
        raise VmMgrError(Kind.INVALID, message, hint="use valid UTF-8") from error


def _ask(ioctx: Any, header: str, question: bytes) -> bytes:
    """Call the class; an answer that does not fit is asked for again with more room."""
    rados = load_rados()
    room = ROOM
    while True:
        try:
            return bytes(ioctx.execute(header, "rbd", "metadata_list", question, room)[1])
        except rados.Error as error:
            if getattr(error, "errno", None) != errno.ERANGE or room >= MOST_ROOM:
                raise
            room *= 4


def _texts(raw: bytes, count: int) -> Iterator[bytes]:
    position = 0
    for _ in range(count):
        length, position = _length(raw, position), position + 4
        if position + length > len(raw):
            raise ValueError("the answer ends within a text")
        yield raw[position : position + length]
        position += length


def _length(raw: bytes, position: int) -> int:
    if position + 4 > len(raw):
        raise ValueError("the answer ends before a length")
    return int.from_bytes(raw[position : position + 4], "little")

"""Read the bytes of an image: of a file, a block device, or a part of a package."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.image_content import HEAD_BYTES, TAIL_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_mgr.model.storage import ImagePart

__all__ = ["ImageBytes", "open_image"]

HINT = "give the path of a disk image; for import, of an OVA or OVF file"


class ImageBytes:
    """What an image has where; name is what people call it, path is of its file or package."""

    def __init__(self, file: BinaryIO, name: str, path: str, part: ImagePart | None) -> None:
        self._file = file
        self.name = name
        self.path = path
        self.part = part
        self.start = part.offset if part else 0
        self.size_bytes = part.size_bytes if part else file.seek(0, os.SEEK_END)

    def read(self, at: int, count: int) -> bytes:
        """Read; less where the image ends before."""
        count = min(count, self.size_bytes - at)
        if at < 0 or count <= 0:
            return b""
        self._file.seek(self.start + at)
        return self._file.read(count)

    def number(self, at: int, count: int, order: str = "big") -> int:
        """Read an unsigned number; 0 where the image ends before."""
        found = self.read(at, count)
        return int.from_bytes(found, "big" if order == "big" else "little") if len(found) == count else 0

    @property
    def head(self) -> bytes:
        """Give the beginning."""
        return self.read(0, HEAD_BYTES)

    @property
    def tail(self) -> bytes:
        """Give the last sector; nothing of what is smaller."""
        return self.read(self.size_bytes - TAIL_BYTES, TAIL_BYTES)


@contextmanager
def open_image(image: str | ImagePart) -> Iterator[ImageBytes]:
    """Open an image; raises NOT_FOUND for none, INVALID for what is no file or empty."""
    part = None if isinstance(image, str) else image
    given = part.package if part else str(image)
    name = f"{given}: {part.name}" if part and part.offset else given
    path = Path(given).absolute()
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        denied = isinstance(error, PermissionError)
        message = f"{given} can't be reached: permission denied" if denied else f"there is no file {given}"
        raise VmMgrError(Kind.NOT_FOUND, message, hint=HINT) from error
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):  # opening anything else could hang
        raise VmMgrError(Kind.NOT_FOUND, f"{given} is no file", hint=HINT)
    try:
        file = path.open("rb")
    except OSError as error:
        message = f"{given} can't be read: {error.strerror}"
        raise VmMgrError(Kind.INVALID, message, hint=f"look: ls -l {path}") from error
    with file:
        found = ImageBytes(file, name, str(path), part)
        if found.size_bytes == 0:
            raise VmMgrError(Kind.INVALID, f"{name} is empty", hint=HINT)
        yield found

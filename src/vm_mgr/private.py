"""Make files and folders that are nobody else's, whatever the umask: they are secret, or believed."""

from __future__ import annotations

import os
from stat import S_IMODE, S_ISVTX
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["append", "make_folder", "write"]

FOLDER_MODE = 0o700
FILE_MODE = 0o600
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing; one of ours that is open to others is closed."""
    for missing in reversed([one for one in path.parents if not one.exists()]):
        missing.mkdir(mode=0o755, exist_ok=True)
    path.mkdir(mode=FOLDER_MODE, exist_ok=True)
    found = path.stat()
    shared = found.st_mode & S_ISVTX or found.st_uid != os.geteuid()
    if S_IMODE(found.st_mode) & ~FOLDER_MODE and not shared:
        path.chmod(FOLDER_MODE)


def write(path: Path, text: str) -> None:
    """Replace a file's content; its folder is made where it is missing."""
    _put(path, text, os.O_TRUNC)


def append(path: Path, text: str) -> None:
    """Add to a file; its folder is made where it is missing."""
    _put(path, text, os.O_APPEND)


def _put(path: Path, text: str, flag: int) -> None:
    make_folder(path.parent)
    opened = os.open(path, _FLAGS | flag, FILE_MODE)
    with os.fdopen(opened, "w", encoding="utf-8") as file:
        os.fchmod(opened, FILE_MODE)
        file.write(text)

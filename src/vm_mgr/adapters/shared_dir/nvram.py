"""Keep UEFI variables and TPM as files of the VM's folder: nvram, and nvram@SNAPSHOT for each snapshot."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from vm_mgr.adapters.shared_dir.files import is_file, read, write
from vm_mgr.errors import Kind, VmMgrError

if TYPE_CHECKING:
    from pathlib import Path

    from vm_mgr.adapters.shared_dir.files import Files

__all__ = ["copy_nvram", "drop_nvram", "read_nvram", "write_nvram"]

FILE = "nvram"


def read_nvram(folder: Path, snapshot: str = "") -> bytes:
    """Give what is kept; empty for nothing."""
    path = _path(folder, snapshot)
    try:
        return b64decode(read(path) or "", validate=True)
    except ValueError as error:
        message = f"can't read {path}: {error}"
        raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint="look at the file system's health") from error


def write_nvram(files: Files, folder: Path, packed: bytes, snapshot: str = "") -> None:
    """Replace it, as text: so do all files that this storage writes by itself."""
    write(files, _path(folder, snapshot), b64encode(packed).decode())


def copy_nvram(files: Files, folder: Path, source: str, to: str) -> None:
    """Have one state be another one too; where there is none nothing is changed."""
    if is_file(_path(folder, source)):
        write_nvram(files, folder, read_nvram(folder, source), to)


def drop_nvram(files: Files, folder: Path, snapshot: str) -> None:
    """Remove a state; absent is fine."""
    path = _path(folder, snapshot)
    if is_file(path):
        files.unlink(path)
        files.sync(folder)


def _path(folder: Path, snapshot: str) -> Path:
    return folder / (f"{FILE}@{snapshot}" if snapshot else FILE)

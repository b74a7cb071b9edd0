"""Change files so that a reader sees the old or the new, and a power cut leaves one of them.

Every change goes through the methods of `Files`; a test hands in one that dies at any of them.
"""

import os
from pathlib import Path
from stat import S_ISDIR, S_ISREG

__all__ = ["NEW", "Files", "delete", "is_file", "is_folder", "read", "write"]

NEW = ".new"
# Folders let QEMU's user through to its disks, but show it no names; what is in the files is nobody else's.
FOLDER_MODE = 0o711
FILE_MODE = 0o600


class Files:
    """The calls that change a directory; each is one step for whoever looks on."""

    def make_folder(self, path: Path) -> None:
        """Make a folder where nothing is, whatever the caller's umask."""
        path.mkdir()
        path.chmod(FOLDER_MODE)

    def make_file(self, path: Path) -> None:
        """Make an empty file, readable to nobody else from the beginning."""
        os.close(_open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))

    def put(self, path: Path, text: str) -> None:
        """Write a whole file and have it on the disk; not atomic by itself."""
        with open(_open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())

    def rename(self, path: Path, new: Path) -> None:
        """Give another name, replacing a file that has it: the one step that decides."""
        path.rename(new)

    def sync(self, path: Path) -> None:
        """Have a file's content, or a folder's names, on the disk."""
        opened = _open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)

    def unlink(self, path: Path) -> None:
        """Remove a name; an absent one is fine."""
        path.unlink(missing_ok=True)

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder."""
        path.rmdir()


def write(files: Files, path: Path, text: str) -> None:
    """Replace a file; whoever writes has locked the VM, so a name for the new one is enough."""
    new = path.with_name(path.name + NEW)
    files.put(new, text)
    files.rename(new, path)
    files.sync(path.parent)


def delete(files: Files, folder: Path) -> None:
    """Remove a folder with what is in it, following no link; an absent one is fine."""
    if not is_folder(folder):
        return
    for path in sorted(folder.iterdir()):
        if is_folder(path):
            delete(files, path)
        else:
            files.unlink(path)
    files.remove_folder(folder)


def read(path: Path) -> str | None:
    """Read a file, or nothing where there is none; a link is not followed."""
    try:
        with open(_open(path, os.O_RDONLY), encoding="utf-8", errors="replace") as opened:
            return opened.read()
    except FileNotFoundError:
        return None


def is_folder(path: Path) -> bool:
    """Tell a real folder from a link to one and from nothing."""
    mode = _mode(path)
    return mode is not None and S_ISDIR(mode)


def is_file(path: Path) -> bool:
    """Tell a real file from a link to one and from nothing."""
    mode = _mode(path)
    return mode is not None and S_ISREG(mode)


def _mode(path: Path) -> int | None:
    # Path.is_dir and is_file take every failure for absence; out of reach is not absent.
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return None


def _open(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)

"""Meet the port of nvram files: the file that QEMU writes, the folder that swtpm writes, and a note in /run.

The note nvram..NAME has the digest of what the storage has, then the paths; the monitor in ocf/VirtualDomain
compares their times with the note's.
"""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vm_mgr import private
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.nvram import MOST_BYTES, VARIABLES, NvramFile, NvramPlaces, pack, unpack
from vm_mgr.ports.nvram_files import KeptNvram

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_mgr.model.vm import VmName

__all__ = ["HostNvramFiles"]

# swtpm's own, and not its lock (https://github.com/stefanberger/swtpm, src/swtpm/swtpm_nvstore_dir.c).
TPM_FILES = ("tpm2-00.*", "tpm-00.*")
PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_")
# A file system may keep times in whole seconds: a file that was this young is looked at once more.
YOUNG_S = 2
FOLDER_MODE = 0o711


class HostNvramFiles:
    """The files of this machine."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir

    def read(self, places: NvramPlaces) -> bytes:
        """Read the file and the folder; links are not followed."""
        with _working("read"):
            found = {key: _read(path) for key, path in _present(places).items()}
            if sum(len(one.content) for one in found.values()) > MOST_BYTES:
                raise OSError(f"more than {MOST_BYTES >> 20} MiB")
            return pack(found)

    def place(self, places: NvramPlaces, packed: bytes) -> None:
        """Write what is to be there, each file by a rename, and remove the rest."""
        files = unpack(packed)
        with _working("written"):
            present = _present(places)
            for key, one in files.items():
                path = _path(places, key)
                if path is not None:
                    _write(path, one)
                    present.pop(key, None)
            for path in present.values():
                path.unlink(missing_ok=True)

    def kept(self, name: VmName) -> KeptNvram | None:
        """Read the note."""
        try:
            digest, variables, tpm = self._note(name).read_text(encoding="utf-8").split("\n")[:3]
        except (OSError, ValueError):
            return None
        return KeptNvram(NvramPlaces(variables, tpm), digest)

    def note(self, name: VmName, places: NvramPlaces, digest: str, *, as_of_s: float) -> None:
        """Write it, with the time of the youngest file, or that from which on a file may have changed."""
        with _working("noted"):
            youngest = max((Path(path).stat().st_mtime for path in places if _exists(path)), default=0.0)
            path = self._note(name)
            new = path.with_name(path.name + "..new")
            private.write(new, f"{digest}\n{places.variables}\n{places.tpm}\n")
            when = min(youngest, as_of_s - YOUNG_S)
            when = when if digest else 0.0  # the storage has nothing yet: the next monitor is to keep it
            os.utime(new, (max(when, 0), max(when, 0)))
            new.replace(path)

    def forget(self, name: VmName) -> None:
        """Remove the note."""
        with suppress(OSError):
            self._note(name).unlink(missing_ok=True)

    def _note(self, name: VmName) -> Path:
        return self.state_dir / f"nvram..{name.replace('/', '..')}"


def _present(places: NvramPlaces) -> dict[str, Path]:
    """Name what is there: a key for each file."""
    found = {}
    if places.variables and _exists(places.variables):
        found[VARIABLES] = Path(places.variables)
    if places.tpm:
        folder = Path(places.tpm)
        files = [path for pattern in TPM_FILES for path in folder.glob(pattern)]
        found |= {path.name: path for path in sorted(files) if path.is_file() and not path.is_symlink()}
    return found


def _path(places: NvramPlaces, key: str) -> Path | None:
    """Give the place of a key; what has none on this VM any more stays in the storage alone."""
    if key == VARIABLES:
        return Path(places.variables) if places.variables else None
    if not places.tpm or not set(key) <= PLAIN or not key.startswith(("tpm2-00.", "tpm-00.")):
        return None
    return Path(places.tpm) / key


def _exists(path: str) -> bool:
    return bool(path) and os.path.lexists(path)


def _read(path: Path) -> NvramFile:
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(opened, "rb") as file:
        seen = os.fstat(opened)
        user, group = "", ""
        with suppress(KeyError):
            user, group = pwd.getpwuid(seen.st_uid).pw_name, grp.getgrgid(seen.st_gid).gr_name
        return NvramFile(file.read(MOST_BYTES + 1), user, group)


def _write(path: Path, one: NvramFile) -> None:
    """Replace a file; libvirt gives the variables to QEMU's user, the TPM's files must be swtpm's already."""
    if not path.parent.exists():
        _make_folders(path.parent)
        _give(path.parent, one)
    new = path.with_name(f".{path.name}.vm-mgr")
    new.unlink(missing_ok=True)
    opened = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(opened, "wb") as file:
        file.write(one.content)
    _give(new, one)
    new.replace(path)


def _make_folders(folder: Path) -> None:
    """Make what is missing as libvirt does: swtpm's user gets through, whatever the umask of an agent."""
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir()
        missing.chmod(FOLDER_MODE)


def _give(path: Path, one: NvramFile) -> None:
    with suppress(KeyError, PermissionError):
        os.chown(path, pwd.getpwnam(one.user).pw_uid, grp.getgrnam(one.group).gr_gid)


@contextmanager
def _working(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"the files of UEFI variables and TPM can't be {doing}: {error}"
        raise VmMgrError(Kind.ENVIRONMENT, message, hint="see: df -h; ls -l the path") from error

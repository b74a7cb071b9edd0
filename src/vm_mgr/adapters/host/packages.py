"""Read packages of appliances: an OVA, or an OVF with its files beside it (DMTF's DSP0243, 5 and 6).

Nothing is unpacked: qemu-img reads the disks where they are in the tar. So no name in a package becomes a
path, and no room is needed but that of the new disks.
"""

from __future__ import annotations

import hashlib
import re
import stat
import tarfile
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from vm_mgr.adapters.host.image_bytes import open_image
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.image_content import recognise, unpacking
from vm_mgr.model.package import Package
from vm_mgr.model.storage import ImagePart

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["check_package", "is_appliance", "read_package"]

DESCRIPTION_MAX, FILES_MAX, PIECE = 16 << 20, 1000, 4 << 20
SUMS = {"sha1": "sha1", "sha256": "sha256", "sha512": "sha512"}
_SUM = re.compile(r"^(\w+)\s*\(\s*(.+?)\s*\)\s*=\s*([0-9A-Fa-f]+)\s*$")


def read_package(path: str) -> Package:
    """Find the OVF and the files; raises NOT_FOUND, or INVALID for what is no package or lacks a part."""
    with open_image(path) as data:
        found = recognise(data.head, data.tail)
        if found.packing is not None and found.packing.word == "tar":
            files = _in_tar(path, data.path, data.size_bytes)
        elif found.text:
            files = _beside(Path(data.path))
        else:
            cure = (
                f"unpack it: {unpacking(found.packing, path)}" if found.packing else "give an OVA or an OVF"
            )
            raise VmMgrError(Kind.INVALID, f"{path} is neither an OVA nor an OVF", hint=cure)
    own = Path(path).name
    names = [own] if found.text else [name for name in files if name.lower().endswith(".ovf")]
    if len(names) != 1:
        message = f"{path} has {len(names)} descriptions (*.ovf), not one"
        raise VmMgrError(Kind.INVALID, message, hint=f"look: tar -tf {quote(path)}")
    stem = names[0].rpartition(".")[0]
    sums = _manifest(path, files[f"{stem}.mf"]) if f"{stem}.mf" in files else None
    return Package(
        path, names[0], _content(path, files[names[0]]), files, sums, signed=f"{stem}.cert" in files
    )


def check_package(package: Package, on_progress: Callable[[float], None]) -> None:
    """Compare all files that the manifest names; raises INVALID where one differs or is missing."""
    sums = package.sums or {}
    missing = [name for name in sums if name not in package.files]
    if missing:
        raise _damaged(package.path, f"the manifest names {missing[0]}, which is not there")
    total = sum(package.files[name].size_bytes for name in sums) or 1
    done = 0
    for name, (algorithm, wanted) in sums.items():
        digest, part = hashlib.new(SUMS[algorithm], usedforsecurity=False), package.files[name]
        if part.size_bytes:
            with open_image(part) as data:
                for at in range(0, data.size_bytes, PIECE):
                    digest.update(data.read(at, PIECE))
                    on_progress(min((done + at) / total, 1.0))
        done += part.size_bytes
        if digest.hexdigest() != wanted:
            raise _damaged(package.path, f"{name} has another {algorithm.upper()} sum than the manifest says")


def is_appliance(path: str) -> bool:
    """Tell whether a tar has an OVF in it, as far as the tar can be read."""
    try:
        with tarfile.open(path, "r:") as archive:
            return any(member.name.lower().endswith(".ovf") for member in archive)
    except (tarfile.TarError, OSError, EOFError, ValueError):
        return False


def _in_tar(path: str, absolute: str, size_bytes: int) -> dict[str, ImagePart]:
    """Read the headers alone; a tar that was cut is read as far as it goes, so its members are measured."""
    files: dict[str, ImagePart] = {}
    try:
        with tarfile.open(absolute, "r:") as archive:
            for member in archive:
                if not member.isfile() or member.issparse() or not _is_plain(member.name.removeprefix("./")):
                    message = f"{path} has {member.name!r}, which is no plain file of the package itself"
                    raise VmMgrError(Kind.INVALID, message, hint="get the OVA from whoever has made it")
                name = member.name.removeprefix("./")
                if name in files or len(files) >= FILES_MAX:
                    message = f"{path} has {name!r} twice, or more than {FILES_MAX} files"
                    raise VmMgrError(Kind.INVALID, message, hint="get the OVA from whoever has made it")
                if member.offset_data + member.size > size_bytes:
                    raise _damaged(path, f"{name} goes on to byte {member.offset_data + member.size}")
                files[name] = ImagePart(name, member.size, absolute, member.offset_data)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    return files


def _beside(description: Path) -> dict[str, ImagePart]:
    """Take the plain files of its folder: no links, which could lead anywhere."""
    files = {}
    try:
        for one in sorted(description.parent.iterdir()):
            seen = one.lstat()
            if stat.S_ISREG(seen.st_mode) or one == description:
                files[one.name] = ImagePart(one.name, one.stat().st_size, str(one))
    except OSError as error:
        message = f"the folder of {description} can't be read: {error.strerror}"
        raise VmMgrError(
            Kind.INVALID, message, hint=f"look: ls -l {quote(str(description.parent))}"
        ) from error
    return files


def _is_plain(name: str) -> bool:
    return (
        bool(name) and "/" not in name and "\\" not in name and name not in (".", "..") and "\0" not in name
    )


def _content(path: str, part: ImagePart) -> bytes:
    if part.size_bytes > DESCRIPTION_MAX:
        message = f"{part.name} of {path} is larger than {DESCRIPTION_MAX >> 20} MiB"
        raise VmMgrError(Kind.INVALID, message, hint="give an OVA or an OVF")
    with open_image(part) as data:
        return data.read(0, part.size_bytes)


def _manifest(path: str, part: ImagePart) -> dict[str, tuple[str, str]]:
    """Read lines like `SHA256(disk.vmdk)= 9f86…` (DSP0243, 5.1)."""
    sums = {}
    for line in _content(path, part).decode("utf-8", "replace").splitlines():
        found = _SUM.match(line)
        algorithm = found[1].lower() if found else ""
        if found and algorithm in SUMS:
            sums[found[2]] = (algorithm, found[3].lower())
        elif line.strip():
            raise _damaged(path, f"the manifest has a line that says nothing: {line.strip()[:80]!r}")
    return sums


def _damaged(path: str, damage: str) -> VmMgrError:
    message = f"{path} is damaged, or a part of it is missing: {damage}"
    return VmMgrError(Kind.INVALID, message, hint="copy it here again, from where it is whole")

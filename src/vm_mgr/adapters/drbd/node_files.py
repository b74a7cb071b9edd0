"""Have resource files and links on this node, each replaced by one rename.

The links are the paths that domains have: /var/lib/vm-mgr/drbd/system_web1 leads to /dev/drbd100. They need
no udev, and a renamed VM's disks have other paths while DRBD's own names stay.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vm_mgr.adapters.drbd.record import Record, State, device, resource_name
from vm_mgr.adapters.drbd.res_file import render_file
from vm_mgr.config import DRBD_DISKS
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import disk_image

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LINKS", "NodeFiles"]

# The same on every node: definitions name paths in it.
LINKS = Path(DRBD_DISKS)
RESOURCES = Path("/etc/drbd.d")
NEW = ".vm-mgr-new"


class NodeFiles:
    """The files of one node; errors of the system are ENVIRONMENT."""

    def __init__(self, group: str, resources: Path = RESOURCES, links: Path = LINKS) -> None:
        self.group = group
        self.resources = resources
        self.links = links

    def apply(self, record: Record) -> None:
        """Have the file and the links of a resource."""
        with _translated(record):
            self._write(self._path(record), render_file(record, self.group))
            wanted = {}
            if record.state is State.PLACED:
                wanted = {disk_image(record.name, one.number): device(one.minor) for one in record.volumes}
            self._link(record, wanted)

    def erase(self, record: Record) -> None:
        """Have neither."""
        with _translated(record):
            self._link(record, {})
            self._path(record).unlink(missing_ok=True)
            _sync(self.resources)

    def _path(self, record: Record) -> Path:
        return self.resources / f"{resource_name(record.port)}.res"

    def _write(self, path: Path, text: str) -> None:
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return
        new = path.with_name(path.name + NEW)  # drbdadm reads *.res only
        opened = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(opened, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
        _sync(path.parent)

    def _link(self, record: Record, wanted: dict[str, str]) -> None:
        """Make the links that are wanted; others that lead to the same devices go."""
        self.links.mkdir(parents=True, exist_ok=True)
        self.links.chmod(0o755)  # QEMU goes through it as a user of its own
        ours = {device(one.minor) for one in record.volumes}
        for path in self.links.iterdir():
            if path.is_symlink() and str(path.readlink()) in ours and path.name not in wanted:
                path.unlink()
        for name, target in wanted.items():
            path = self.links / name
            if not (path.is_symlink() and str(path.readlink()) == target):
                new = path.with_name(name + NEW)
                new.unlink(missing_ok=True)
                new.symlink_to(target)
                new.rename(path)
        _sync(self.links)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def _translated(record: Record) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"can't write the files of {resource_name(record.port)}: {error}"
        raise VmMgrError(Kind.ENVIRONMENT, message, hint=f"look: ls -ld {RESOURCES} {LINKS}") from error

"""The VMs' pool: what all parts of the storage in Ceph work with."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.ceph.connection import Connection, failed, load_rados, load_rbd, translated
from vm_mgr.adapters.ceph.layout import disk_number
from vm_mgr.adapters.ceph.metadata import read_all, write_changes
from vm_mgr.adapters.ceph.patience import Patience
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import disk_image
from vm_mgr.reports import silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.clock import Clock
    from vm_mgr.ports.runner import Runner
    from vm_mgr.reports import Say

__all__ = ["Pool", "threads_of"]


class Pool:
    """Groups and images of VMs, and the metadata of their system disks."""

    def __init__(
        self,
        connection: Connection,
        runner: Runner,
        clock: Clock,
        *,
        cache: str = "writeback",
        spool: Path | None = None,
        say: Say = silent,
    ) -> None:
        """spool is a folder of this node through which guests' memory passes to and from Ceph."""
        self.patience = Patience(say)
        self.connection = connection
        self.runner = runner
        self.clock = clock
        self.cache = cache
        self._spool = spool

    def metadata(self, name: VmName) -> dict[str, str]:
        """Read all metadata of the system disk; raises NOT_FOUND where there is no such disk."""
        image_name = disk_image(name, 0)
        with self.reading(f"can't read {image_name}") as ioctx:
            found = read_all(ioctx, image_name)
        if found is None:
            message = f"{name} has no disk {image_name} in Ceph"
            raise VmMgrError(Kind.NOT_FOUND, message, hint="see the VMs: vm-mgr list")
        return found

    def describe(self, name: VmName, metadata: Mapping[str, str | None]) -> None:
        """Set and remove keys of the system disk's metadata."""
        present = self.metadata(name)
        with (
            self.working(f"can't describe {name}") as (rbd, ioctx),
            rbd.Image(ioctx, disk_image(name, 0)) as image,
        ):
            write_changes(image, present, metadata)

    def images(self, name: VmName) -> list[str]:
        """List the group's images, the system disk first; it is always among them."""
        with self.working(f"can't list the disks of {name}") as (rbd, ioctx):
            try:
                members = [str(member["name"]) for member in rbd.Group(ioctx, name).list_images()]
            except rbd.ObjectNotFound:
                members = []
        last = len(members)
        return sorted(
            {disk_image(name, 0), *members},
            key=lambda i: (n if (n := disk_number(name, i)) is not None else last, i),
        )

    @property
    def spool(self) -> Path:
        """Where guests' memory passes through."""
        if self._spool is None:
            hint = "this is a program of another kind; nothing on a node can be without it"
            raise VmMgrError(Kind.NOT_SUPPORTED, "no folder for guests' memory is known here", hint=hint)
        return self._spool

    @contextmanager
    def reading(self, doing: str) -> Iterator[Any]:
        """Give the pool alone, for what needs no image to be opened; translate errors."""
        ioctx = self.connection.ioctx
        rados = load_rados()
        try:
            yield ioctx
        except rados.Error as error:
            raise failed(doing, error) from error

    @contextmanager
    def working(self, doing: str) -> Iterator[tuple[Any, Any]]:
        """Give the rbd module and the pool; translate errors."""
        ioctx = self.connection.ioctx
        rbd = load_rbd()
        with translated(doing):
            yield self.patience.module(rbd, doing), ioctx


def threads_of(count: int) -> ThreadPoolExecutor:
    """Begin threads. Loading them takes 10 ms, which all commands would wait for that use Ceph."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    return ThreadPoolExecutor(count)

"""Tell which disks some QEMU has open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vm_mgr.adapters.shared_dir import layout
from vm_mgr.adapters.shared_dir.files import is_file
from vm_mgr.model.storage import DiskClient, disk_image
from vm_mgr.model.vm import VmName, name_problems

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vm_mgr.adapters.shared_dir.folders import VmFolders
    from vm_mgr.model.storage import DiskSource

__all__ = ["SharedClients"]


class SharedClients:
    """QEMU's locks on files."""

    def __init__(self, folders: VmFolders) -> None:
        self.folders = folders

    def images(self, name: VmName) -> list[str]:
        """Name the VM's disks; the system disk is always among them."""
        with self.folders.working(f"can't list the disks of {name}"):
            return self.folders.images(name)

    def of(self, images: Sequence[str]) -> list[DiskClient]:
        """Name the disks that some QEMU has open; by which node, a shared file system tells nobody.

        That its locks reach across nodes is up to the file system. The second bar is libvirt's lock manager:
        virtlockd, on every node, holds a lease on each disk for as long as the VM runs.
        """
        with self.folders.working("can't see who has the disks open") as root:
            paths = {image: layout.image_file(root, image) for image in images}
            present = {image: path for image, path in paths.items() if is_file(path)}
            look = self.folders.qcow2.look
            return [DiskClient(image, "") for image, path in present.items() if look(path).in_use]

    def evict(self, client: DiskClient) -> None:
        """Leave it: locks end with their node, by fencing."""

    def image_of(self, source: str) -> str:
        """Take the path apart."""
        path, root = Path(source), self.folders.mount.root
        number = layout.disk_number(path.name)
        ours = path.parent.parent == root and number is not None and not name_problems(path.parent.name)
        return disk_image(VmName(path.parent.name), number) if ours and number is not None else ""

    def opened(self, sources: Sequence[DiskSource]) -> list[str]:  # noqa: ARG002
        """Name nothing: a lock on a file has no address."""
        return []

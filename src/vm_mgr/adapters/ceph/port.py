"""Meet the storage port with RBD images, groups and image metadata."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.ceph.connection import Connection, translated
from vm_mgr.errors import Kind, ProgramError, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vm_mgr.adapters.ceph.listing import Listing
    from vm_mgr.adapters.ceph.staging import StagedImage
    from vm_mgr.model.storage import Disk, Holder, ImageFile
    from vm_mgr.model.vm import VmName, VmSettings
    from vm_mgr.ports.clock import Clock
    from vm_mgr.ports.runner import Runner

__all__ = ["CephStorage"]


class CephStorage:
    """VMs as RBD groups; the definition in the system disk's metadata."""

    def __init__(
        self,
        connection: Connection,
        runner: Runner,
        clock: Clock,
        *,
        cache: str = "writeback",
        listing: Listing | None = None,
    ) -> None:
        self.connection = connection
        self.runner = runner
        self.clock = clock
        self.cache = cache
        self.listing = listing

    def names(self) -> set[VmName]:
        """List the groups, or take the list that was begun earlier."""
        listing, self.listing = self.listing, None
        if listing is not None:
            return listing.result()
        from vm_mgr.adapters.ceph.listing import group_names  # noqa: PLC0415 - not for `status`

        return group_names(self.connection)

    def exists(self, name: VmName) -> bool:
        """Look for the group."""
        return name in self.names()

    def definition(self, name: VmName) -> str:
        """Read the domain XML that is started."""
        try:
            return self.metadata(name)["xml"]
        except KeyError as error:
            message = f"{name} has no definition in Ceph"
            hint = f"look: rbd image-meta list {self.connection.pool}/system_{name}"
            raise VmMgrError(Kind.NOT_FOUND, message, hint=hint) from error

    def settings(self, name: VmName) -> VmSettings:
        """Read the settings."""
        from vm_mgr.adapters.ceph.layout import read_settings  # noqa: PLC0415 - not for `list`

        return read_settings(self.metadata(name))

    def definitions(self) -> Mapping[VmName, str]:
        """Read every VM's domain XML."""
        found = {}
        for name in self.names():
            try:
                found[name] = self.definition(name)
            except VmMgrError as error:
                if error.kind is not Kind.NOT_FOUND:
                    raise
        return found

    def metadata(self, name: VmName) -> dict[str, str]:
        """Read all metadata of the system disk; raises NOT_FOUND where there is no such disk."""
        image_name = f"system_{name}"
        with self.working(f"can't read {image_name}") as (rbd, ioctx):
            try:
                with rbd.Image(ioctx, image_name, read_only=True) as image:
                    return {str(key): str(value) for key, value in image.metadata_list()}
            except rbd.ImageNotFound as error:
                message = f"{name} has no disk {image_name} in Ceph"
                raise VmMgrError(Kind.NOT_FOUND, message, hint="see the VMs: vm-mgr list") from error

    def inspect(self, path: str) -> ImageFile:
        """Refuse what can't be imported: only qcow2 is accepted."""
        from pathlib import Path  # noqa: PLC0415 - not for `list`

        from vm_mgr.adapters.ceph import commands, parse  # noqa: PLC0415

        if not Path(path).is_file():
            hint = "give the path of a qcow2 image"
            raise VmMgrError(Kind.NOT_FOUND, f"there is no file {path}", hint=hint)
        completed = self.runner.run(commands.info(str(Path(path).absolute())), timeout_s=30)
        if completed.exit_code != 0:
            raise ProgramError(completed.argv, completed.exit_code, completed.stderr)
        image = parse.image_file(str(Path(path).absolute()), completed.stdout)
        if image.format != "qcow2" or image.size_bytes == 0:
            hint = f"convert it: qemu-img convert -O qcow2 {path} {path}.qcow2"
            found = "empty" if Path(path).stat().st_size == 0 else f"of format {image.format}"
            raise VmMgrError(Kind.INVALID, f"{path} is not a qcow2 image but {found}", hint=hint)
        return image

    def system_disk(self, name: VmName, bus: str | None) -> Disk:
        """Say how a domain reaches the system disk."""
        from vm_mgr.model.storage import Disk  # noqa: PLC0415

        return Disk(f"{self.connection.pool}/system_{name}", bus=bus or "virtio", cache=self.cache)

    @contextmanager
    def stage(self, name: VmName, size_bytes: int) -> Iterator[StagedImage]:
        """Begin a VM under a temporary name."""
        from vm_mgr.adapters.ceph.staging import StagedImage  # noqa: PLC0415

        staged = StagedImage(self, name)
        staged.begin(size_bytes)
        try:
            yield staged
        finally:
            staged.close()

    def remove(self, name: VmName) -> bool:
        """Delete group and disks, and what an unfinished creation left."""
        from vm_mgr.adapters.ceph import removal  # noqa: PLC0415

        return removal.remove_vm(self, name)

    def images(self, name: VmName) -> list[str]:
        """List the group's images; the system disk is always among them."""
        with self.working(f"can't list the disks of {name}") as (rbd, ioctx):
            try:
                members = [str(member["name"]) for member in rbd.Group(ioctx, name).list_images()]
            except rbd.ObjectNotFound:
                members = []
        return sorted({f"system_{name}", *members}, reverse=True)

    def holders(self, images: Sequence[str]) -> list[Holder]:
        """Read watchers and locks; reading needs no watch of our own."""
        from vm_mgr.adapters.ceph import holders  # noqa: PLC0415

        with self.working("can't see who has the disks open") as (rbd, ioctx):
            return [holder for image in images for holder in holders.holders(rbd, ioctx, image)]

    def evict(self, holder: Holder) -> None:
        """Blocklist a dead client and break its locks."""
        from vm_mgr.adapters.ceph import holders  # noqa: PLC0415

        with self.working(f"can't shut out {holder.address}") as (rbd, ioctx):
            holders.evict(rbd, self.connection.cluster, ioctx, holder)

    @contextmanager
    def working(self, doing: str) -> Iterator[tuple[Any, Any]]:
        """Give the rbd module and the pool; translate errors."""
        ioctx = self.connection.ioctx
        import rbd  # noqa: PLC0415

        with translated(doing):
            yield rbd, ioctx

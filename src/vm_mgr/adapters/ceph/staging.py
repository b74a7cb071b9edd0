"""Create a VM's disk under a temporary name and put it in place at the end."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.ceph import commands, layout, parse
from vm_mgr.adapters.ceph.removal import image_exists, is_unfinished, remove_image
from vm_mgr.errors import Kind, ProgramError, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_mgr.adapters.ceph.port import CephStorage
    from vm_mgr.model.storage import ImageFile
    from vm_mgr.model.vm import VmName, VmSettings

__all__ = ["StagedImage"]

NO_LIMIT_S = 24 * 3600.0


class StagedImage:
    """An image that nobody sees yet; the open handle's watch tells others that somebody is at it."""

    def __init__(self, storage: CephStorage, name: VmName) -> None:
        self.storage = storage
        self.name = name
        self.image_name = layout.new_image(name)
        self._handle: Any = None
        self._committed = False

    def begin(self, size_bytes: int) -> None:
        """Clear what an interrupted creation left, then create the marked, empty image."""
        self._recover()
        self._refuse_foreign_disk()
        with self.storage.working(f"can't create the disk of {self.name}") as (rbd, ioctx):
            rbd.RBD().create(ioctx, self.image_name, size_bytes)
            self._handle = rbd.Image(ioctx, self.image_name)
            self._handle.metadata_set(layout.UNFINISHED, "create")

    def fill(self, image: ImageFile, on_progress: Callable[[float], None]) -> None:
        """Copy the image file."""

        def on_line(line: str) -> None:
            fraction = parse.progress_fraction(line)
            if fraction is not None:
                on_progress(fraction)

        ceph = self.storage.connection
        argv = commands.convert(image.path, self.image_name, pool=ceph.pool, user=ceph.user, conf=ceph.conf)
        completed = self.storage.runner.run(argv, timeout_s=NO_LIMIT_S, on_line=on_line)
        if completed.exit_code != 0:
            raise ProgramError(completed.argv, completed.exit_code, completed.stderr)

    def describe(self, *, xml: str, base_xml: str, settings: VmSettings) -> None:
        """Write definition and settings into the image's metadata."""
        metadata = {
            **layout.write_settings(settings),
            "vm_name": self.name,
            "xml": xml,
            "_base_xml": base_xml,
        }
        with self.storage.working(f"can't describe {self.name}"):
            for key, value in metadata.items():
                self._handle.metadata_set(key, value)

    def commit(self) -> None:
        """Give the image its final name, make it the group's system disk, drop what it replaces."""
        with self.storage.working(f"can't finish {self.name}") as (rbd, ioctx), ExitStack() as undo:
            replaced = self._set_aside(rbd, ioctx, undo)
            self._handle.close()
            self._handle = None
            final = layout.system_image(self.name)
            rbd.RBD().rename(ioctx, self.image_name, final)
            undo.callback(rbd.RBD().rename, ioctx, final, self.image_name)
            if self.name not in rbd.RBD().group_list(ioctx):
                rbd.RBD().group_create(ioctx, self.name)
                undo.callback(rbd.RBD().group_remove, ioctx, self.name)
            rbd.Group(ioctx, self.name).add_image(ioctx, final)
            with rbd.Image(ioctx, final) as image:
                image.metadata_remove(layout.UNFINISHED)
            undo.pop_all()
            self._committed = True
        for image_name in replaced:
            remove_image(self.storage, image_name)

    def close(self) -> None:
        """Remove what was not committed."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None
        if not self._committed:
            remove_image(self.storage, self.image_name)

    def _set_aside(self, rbd: Any, ioctx: Any, undo: ExitStack) -> list[str]:
        """Take the old VM's disks out of the group; only the system disk needs another name."""
        if self.name not in rbd.RBD().group_list(ioctx):
            return []
        members = self.storage.images(self.name)
        group = rbd.Group(ioctx, self.name)
        for snapshot in list(group.list_snaps()):
            group.remove_snap(snapshot["name"])
        for member in [entry["name"] for entry in group.list_images()]:
            group.remove_image(ioctx, member)
            undo.callback(group.add_image, ioctx, member)
        system, old = layout.system_image(self.name), layout.old_image(self.name)
        if image_exists(rbd, ioctx, system):
            rbd.RBD().rename(ioctx, system, old)
            undo.callback(rbd.RBD().rename, ioctx, old, system)
        return [old if member == system else member for member in members]

    def _recover(self) -> None:
        """Finish or take back what a killed creation of this name left."""
        with self.storage.working(f"can't clear {self.image_name}") as (rbd, ioctx):
            system, old = layout.system_image(self.name), layout.old_image(self.name)
            if image_exists(rbd, ioctx, old) and not image_exists(rbd, ioctx, system):
                rbd.RBD().rename(ioctx, old, system)
                rbd.Group(ioctx, self.name).add_image(ioctx, system)
        if self.storage.holders([self.image_name]):
            message = f"another creation of {self.name} is under way, or was killed less than 30 s ago"
            raise VmMgrError(Kind.TRY_LATER, message, hint="try again in 30 s")
        remove_image(self.storage, self.image_name)
        remove_image(self.storage, layout.old_image(self.name))

    def _refuse_foreign_disk(self) -> None:
        system = layout.system_image(self.name)
        with self.storage.working(f"can't look for {system}") as (rbd, ioctx):
            known = self.name in rbd.RBD().group_list(ioctx) or not image_exists(rbd, ioctx, system)
        if known:
            return
        if not is_unfinished(self.storage, system):
            pool = self.storage.connection.pool
            hint = f"if nobody needs it: rbd rm {pool}/{system}"
            raise VmMgrError(Kind.EXISTS, f"Ceph has a disk {system} that belongs to no VM", hint=hint)
        remove_image(self.storage, system)

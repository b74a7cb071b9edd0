"""Make a VM's disks under temporary names and put them in place at the end."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.ceph import commands, layout, parse
from vm_mgr.adapters.ceph.clients import CephClients
from vm_mgr.adapters.ceph.images import read_key, removal_begun, remove_image
from vm_mgr.adapters.ceph.metadata import write_changes
from vm_mgr.adapters.ceph.nvram import write_nvram
from vm_mgr.errors import Kind, ProgramError, VmMgrError
from vm_mgr.model.numbers import whole_number
from vm_mgr.model.storage import disk_image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vm_mgr.adapters.ceph.pool import Pool
    from vm_mgr.model.storage import ImageFile
    from vm_mgr.model.vm import VmName, VmSettings

__all__ = ["StagedImages", "members", "run_copy", "target", "unstage"]

NO_LIMIT_S = 24 * 3600.0
# What the system disk's mark says before and after the one write that decides about the whole.
BEGUN = "create"
DECIDED = "commit"


class StagedImages:
    """Images that nobody sees yet."""

    def __init__(self, pool: Pool, name: VmName) -> None:
        self.pool = pool
        self.name = name
        self.count = 0
        unstage(pool, name)
        _refuse_foreign_disks(pool, name)

    def add(self, size_bytes: int) -> None:
        """Make an empty image."""
        with self.pool.working(f"can't create a disk of {self.name}") as (rbd, ioctx):
            rbd.RBD().create(ioctx, self._next(), size_bytes)
        self._made()

    def add_clone(self, image: str, snapshot: str) -> None:
        """Make a clone; its format, 2, needs no protected snapshot."""
        with self.pool.working(f"can't clone {image}") as (rbd, ioctx):
            rbd.RBD().clone(ioctx, image, snapshot, ioctx, self._next())
        self._made()

    def fill(self, image: ImageFile, on_progress: Callable[[float], None]) -> None:
        """Copy an image file."""
        self._convert(image.source, image.format, on_progress, image.path)

    def compare(self, image: ImageFile, on_progress: Callable[[float], None]) -> None:
        """Compare with qemu-img."""
        run_copy(
            self.pool, commands.compare(image.source, image.format, self._last()), on_progress, image.path
        )

    def copy(self, image: str, snapshot: str, on_progress: Callable[[float], None]) -> None:
        """Copy a snapshot."""
        self._convert(target(self.pool, f"{image}@{snapshot}"), "raw", on_progress, image)

    def describe(
        self, *, xml: str, base_xml: str, settings: VmSettings, notes: Mapping[str, str], nvram: bytes = b""
    ) -> None:
        """Write definition and settings into the system disk's metadata."""
        if nvram:
            write_nvram(self.pool, self.name, nvram, image=layout.new_image(self.name, 0))
        metadata = {
            **layout.write_settings(settings),
            **notes,
            "vm_name": self.name,
            "xml": xml,
            "_base_xml": base_xml,
        }
        if self.count > 1:
            metadata["_additional_disks"] = str(self.count - 1)
        self._set(metadata)

    def commit(self) -> None:
        """Decide, then put everything in place; a kill after the decision is finished by `unstage`."""
        self._set({layout.UNFINISHED: f"{DECIDED} {self.count}"})
        _put_in_place(self.pool, self.name, self.count)

    def close(self) -> None:
        """Remove what was not committed."""
        unstage(self.pool, self.name)

    def _convert(
        self, source: str, source_format: str, on_progress: Callable[[float], None], what: str
    ) -> None:
        argv = commands.convert(source, source_format, self._last())
        made = layout.new_image(self.name, self.count - 1)
        run_copy(self.pool, argv, on_progress, what, into=made)

    def _last(self) -> str:
        return target(self.pool, layout.new_image(self.name, self.count - 1))

    def _next(self) -> str:
        return layout.new_image(self.name, self.count)

    def _made(self) -> None:
        self.count += 1
        if self.count == 1:
            self._set({layout.UNFINISHED: BEGUN})

    def _set(self, metadata: dict[str, str]) -> None:
        with (
            self.pool.working(f"can't describe {self.name}") as (rbd, ioctx),
            rbd.Image(ioctx, layout.new_image(self.name, 0)) as image,
        ):
            write_changes(image, {}, metadata)


def target(pool: Pool, image: str) -> str:
    """Name an image, or image@snapshot, as qemu-img wants it."""
    ceph = pool.connection
    return commands.rbd_path(image, pool=ceph.pool, user=ceph.user, conf=ceph.conf)


def run_copy(
    pool: Pool,
    argv: tuple[str, ...],
    on_progress: Callable[[float], None],
    what: str,
    *,
    into: str = "",
) -> None:
    """Run a copy or comparison that tells how far it is; what it reads is named where it fails.

    into: the image that it writes. Its client is blocklisted if it was ended in the middle: Ceph would keep
    the watch of a client that says nothing more for 30 s, and the image could not be removed.
    """

    def on_line(line: str) -> None:
        fraction = parse.progress_fraction(line)
        if fraction is not None:
            on_progress(fraction)

    try:
        completed = pool.runner.run(argv, timeout_s=NO_LIMIT_S, on_line=on_line)
    except BaseException:  # the program has ended before this is raised
        if into:
            _forget_client(pool, into)
        raise
    if completed.exit_code != 0:
        program = argv[len(commands.TIED) :]
        failure = ProgramError(program, completed.exit_code, completed.stderr or completed.stdout)
        hint = f"if it is an image file: qemu-img check {what}"
        wrong = "can't be read whole" if into else "and its copy are not the same"
        raise VmMgrError(failure.kind, f"{what} {wrong}: {failure.message}", hint=hint) from failure


def _forget_client(pool: Pool, image: str) -> None:
    """Shut out who still watches an image that nobody but our program, which has ended, has opened here.

    Where that fails the watch ends by itself.
    """
    with suppress(VmMgrError):
        here = str(pool.connection.cluster.get_addrs()).replace("]", "")
        clients = CephClients(pool)
        for client in clients.of([image]):
            if f"{client.host}:" in here:
                clients.evict(client)


def unstage(pool: Pool, name: VmName) -> bool:
    """Finish what was decided, remove what was only begun, and what had been replaced."""
    decided = 0
    for image in (disk_image(name, 0), layout.new_image(name, 0)):
        verb, _, count = read_key(pool, image, layout.UNFINISHED).partition(" ")
        decided = (whole_number(count) or 0) if verb == DECIDED else decided
    if decided:
        _put_in_place(pool, name, decided)
    for prefix in (layout.NEW, layout.OLD):
        for image in _of(pool, prefix, name):
            remove_image(pool, image)
    return decided > 0


def _put_in_place(pool: Pool, name: VmName, count: int) -> None:
    """Rename the new images to the VM's, after what has these names; can be repeated from anywhere."""
    finals = [disk_image(name, number) for number in range(count)]
    with pool.working(f"can't finish {name}") as (rbd, ioctx):
        if name not in rbd.RBD().group_list(ioctx):
            rbd.RBD().group_create(ioctx, name)
        group = rbd.Group(ioctx, name)
        for snapshot in list(group.list_snaps()):
            group.remove_snap(snapshot["name"])
        for number, final in enumerate(finals):
            present, new = set(rbd.RBD().list(ioctx)), layout.new_image(name, number)
            if new in present:
                if final in present:
                    _retire(rbd, ioctx, group, final, layout.old_image(name, number))
                rbd.RBD().rename(ioctx, new, final)
        for image in list(rbd.RBD().list(ioctx)):  # also one that a kill has taken out of the group already
            extra = layout.disk_number(name, image)
            if extra is not None and extra >= count:
                _retire(rbd, ioctx, group, image, layout.old_image(name, extra))
        for final in set(finals) - set(members(group)):
            group.add_image(ioctx, final)
        with rbd.Image(ioctx, finals[0]) as image:
            image.metadata_remove(layout.UNFINISHED)
    for image_name in _of(pool, layout.OLD, name):
        remove_image(pool, image_name)


def _retire(rbd: Any, ioctx: Any, group: Any, image: str, old: str) -> None:
    if image in members(group):
        group.remove_image(ioctx, image)
    rbd.RBD().rename(ioctx, image, old)


def members(group: Any) -> list[str]:
    """Name a group's images."""
    return [str(member["name"]) for member in group.list_images()]


def _of(pool: Pool, prefix: str, name: VmName) -> list[str]:
    with pool.working("can't list the disks in Ceph") as (rbd, ioctx):
        return [image for image in rbd.RBD().list(ioctx) if layout.is_of(image, prefix, name)]


def _refuse_foreign_disks(pool: Pool, name: VmName) -> None:
    with pool.working("can't list the disks in Ceph") as (rbd, ioctx):
        if name in rbd.RBD().group_list(ioctx):
            return
        found = [image for image in rbd.RBD().list(ioctx) if layout.disk_number(name, image) is not None]
    for image in found:
        if removal_begun(pool, image) or read_key(pool, image, layout.UNFINISHED):
            remove_image(pool, image)
            continue
        hint = f"if nobody needs it: rbd rm {pool.connection.pool}/{image}"
        raise VmMgrError(Kind.EXISTS, f"Ceph has a disk {image} that belongs to no VM", hint=hint)

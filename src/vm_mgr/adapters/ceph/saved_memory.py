"""Keep guests' saved memory in images of their own, in no group: no disk, whoever looks.

The name of the image says what it is, so that one rename decides: vm-mgr-saving_NAME is being written,
vm-mgr-saved_NAME is complete, vm-mgr-resumed_NAME may never be resumed again. QEMU and libvirt can't write
to an image that is no block device, so a file of this node stands between: QEMU waits, paused, until all of
it is in Ceph.
"""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager, suppress
from hashlib import blake2b
from typing import TYPE_CHECKING

from vm_mgr import private
from vm_mgr.adapters.ceph import layout, usage
from vm_mgr.adapters.ceph.images import key_of, remove_image
from vm_mgr.adapters.ceph.pool import threads_of
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.saved_state import SavedState, read_state, write_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vm_mgr.adapters.ceph.pool import Pool
    from vm_mgr.model.vm import VmName

__all__ = ["CephSavedMemory"]

CHUNK = 4 << 20
AT_ONCE = 8
PHASES = (layout.SAVED, layout.SAVING, layout.RESUMED)


class CephSavedMemory:
    """A guest's saved memory as an image."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def prepare(self, name: VmName, size_bytes: int) -> str:
        """Look for room on this node and in the pool; nothing of an earlier state may stay."""
        self.delete(name)
        folder = self.pool.spool
        try:
            private.make_folder(folder)
            here = shutil.disk_usage(folder).free
        except OSError as error:
            raise VmMgrError(Kind.ENVIRONMENT, f"can't use {folder}: {error}", hint="see: df -h") from error
        _require(name, size_bytes, here, f"in {folder} on this node", "df -h")
        _require(
            name,
            size_bytes,
            usage.room(self.pool).free_bytes,
            f"in the pool {self.pool.connection.pool}",
            "ceph df",
        )
        return str(folder / name)

    def store(self, name: VmName, state: SavedState, on_progress: Callable[[float], None]) -> SavedState:
        """Write the image from the file and flush it; each write's failure is an error here."""
        path = self.pool.spool / name
        image_name, digest = layout.state_image(layout.SAVING, name), blake2b()
        seen = self.disk_fingerprint(name)  # before the copy: a guest that goes on meanwhile changes them
        with _file(path, name):
            size = path.stat().st_size
            with self.pool.working(f"can't store the memory of {name}") as (rbd, ioctx):
                rbd.RBD().create(ioctx, image_name, max(size, 1))
                with rbd.Image(ioctx, image_name) as image, threads_of(AT_ONCE) as threads:
                    for batch in _batches(path):
                        on_progress(batch[0][0] / size)
                        for _, chunk in batch:
                            digest.update(chunk)
                        list(threads.map(lambda piece: image.write(piece[1], piece[0]), batch))
                    image.flush()
            path.unlink()
        return state._replace(size_bytes=size, digest=digest.hexdigest(), disk_fingerprint=seen)

    def commit(self, name: VmName, state: SavedState) -> None:
        """Say what it is, then rename it."""
        if self.disk_fingerprint(name) != state.disk_fingerprint:
            message = f"the disks of {name} have changed since its memory was saved"
            raise VmMgrError(
                Kind.WRONG_STATE, message, hint=f"nothing else may use them; see: vm-mgr show {name}"
            )
        saving, saved = (layout.state_image(phase, name) for phase in (layout.SAVING, layout.SAVED))
        with self.pool.working(f"can't finish the saved memory of {name}") as (rbd, ioctx):
            with rbd.Image(ioctx, saving) as image:
                image.metadata_set(layout.STATE, write_state(state))
            rbd.RBD().rename(ioctx, saving, saved)

    def of(self, name: VmName) -> SavedState | None:
        """Look for each name; where a rename was cut short and left two, the one that forbids more counts."""
        for phase in (layout.RESUMED, layout.SAVED, layout.SAVING):
            raw = self._described(layout.state_image(phase, name))
            if raw is not None:
                complete, consumed = phase != layout.SAVING, phase == layout.RESUMED
                return read_state(raw)._replace(complete=complete, consumed=consumed)
        return None

    def disk_fingerprint(self, name: VmName) -> str:
        """Take what identifies the images, and when they were last written, as Ceph notes it.

        It notes a write only where the last one noted is a minute old (rbd_mtime_update_interval).
        So libvirt's hook keeps a VM with saved memory from being started by hand.
        """
        disks = []
        with self.pool.working(f"can't look at the disks of {name}") as (rbd, ioctx):
            for image_name in self.pool.images(name):
                with rbd.Image(ioctx, image_name, read_only=True) as image:
                    disks.append([image_name, image.id(), image.size(), str(image.modify_timestamp())])
        return json.dumps(disks)

    def consume(self, name: VmName) -> None:
        """Rename it; for whoever comes second the one name is gone or the other is there."""
        saved, resumed = (layout.state_image(phase, name) for phase in (layout.SAVED, layout.RESUMED))
        with self.pool.working(f"can't record the use of the saved memory of {name} as used") as (rbd, ioctx):
            try:
                rbd.RBD().rename(ioctx, saved, resumed)
            except (rbd.ImageNotFound, rbd.ImageExists) as error:
                message = f"{name} has no saved memory that was not used yet"
                raise VmMgrError(Kind.WRONG_STATE, message, hint=f"look: vm-mgr show {name}") from error

    def load(self, name: VmName, state: SavedState, on_progress: Callable[[float], None]) -> str:
        """Write the file from the image, and compare."""
        path, digest = self.pool.spool / name, blake2b()
        with _file(path, name):
            private.make_folder(self.pool.spool)
            path.unlink(missing_ok=True)
            path.touch(mode=0o600)
            with (
                self.pool.working(f"can't read the saved memory of {name}") as (rbd, ioctx),
                rbd.Image(ioctx, layout.state_image(layout.RESUMED, name), read_only=True) as image,
                path.open("wb") as file,
                threads_of(AT_ONCE) as threads,
            ):
                for batch in _ranges(state.size_bytes):
                    on_progress(batch[0][0] / state.size_bytes)
                    for chunk in threads.map(lambda piece: bytes(image.read(*piece)), batch):
                        digest.update(chunk)
                        file.write(chunk)
        if digest.hexdigest() != state.digest:
            path.unlink(missing_ok=True)
            message = f"the saved memory of {name} is not what was stored"
            raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint="look at Ceph's health: ceph -s")
        return str(path)

    def delete(self, name: VmName, *, patience_s: float = 0) -> None:
        """Delete them; a complete one first becomes one that nobody resumes: deleting it can be cut short.

        A client that has died may count as watching for 30 s: so long this waits only if it is told to.
        """
        with suppress(OSError):
            (self.pool.spool / name).unlink(missing_ok=True)
        if self._described(layout.state_image(layout.SAVED, name)) is not None and (
            self._described(layout.state_image(layout.RESUMED, name)) is None
        ):
            self.consume(name)
        for phase in PHASES:
            remove_image(self.pool, layout.state_image(phase, name), patience_s=patience_s)

    def _described(self, image_name: str) -> str | None:
        return key_of(self.pool, image_name, layout.STATE)


def _require(name: VmName, size_bytes: int, free_bytes: int, where: str, look: str) -> None:
    if size_bytes > free_bytes:
        needed, free = size_bytes >> 20, free_bytes >> 20
        message = f"the memory of {name} needs {needed} MiB {where}, of which {free} MiB are free"
        raise VmMgrError(Kind.NO_RESOURCES, message, hint=f"make room; see: {look}")


def _ranges(size: int) -> Iterator[list[tuple[int, int]]]:
    """Divide so many bytes into pieces, offset and length, as many at once as go side by side.

    >>> [list(batch) for batch in _ranges((4 << 20) + 1)]
    [[(0, 4194304), (4194304, 1)]]
    """
    pieces = [(offset, min(CHUNK, size - offset)) for offset in range(0, size, CHUNK)]
    for first in range(0, len(pieces), AT_ONCE):
        yield pieces[first : first + AT_ONCE]


def _batches(path: Path) -> Iterator[list[tuple[int, bytes]]]:
    with path.open("rb") as file:
        for batch in _ranges(path.stat().st_size):
            yield [(offset, file.read(length)) for offset, length in batch]


@contextmanager
def _file(path: Path, name: VmName) -> Iterator[None]:
    """Translate the errors of the file in between; Ceph's are no OSError of Python's."""
    try:
        yield
    except OSError as error:
        message = f"the memory of {name} can't pass through {path}: {error}"
        raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint="see: df -h") from error

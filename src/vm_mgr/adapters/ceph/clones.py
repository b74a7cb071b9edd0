"""Name the clones of images, and make one independent of what it was cloned from."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, Any

from vm_mgr.errors import Kind, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_mgr.adapters.ceph.pool import Pool
    from vm_mgr.model.vm import VmName

__all__ = ["CephClones"]

POLL_S = 0.25
END_S = 10.0


class CephClones:
    """Images that share the blocks of a snapshot."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def of(self, name: VmName) -> list[str]:
        """List the clones of the images."""
        with self.pool.working(f"can't list the clones of {name}") as (rbd, ioctx):
            found = set()
            for image_name in self.pool.images(name):
                try:
                    with rbd.Image(ioctx, image_name, read_only=True) as image:
                        found |= {
                            str(child["image"]) for child in image.list_children2() if not child["trash"]
                        }
                except rbd.ImageNotFound:
                    continue
        return sorted(found)

    def flatten(self, name: VmName, image: str, on_progress: Callable[[float], None]) -> None:  # noqa: ARG002
        """Copy what is shared; the source's hidden snapshots go with their last clone, librbd sees to that.

        While a VM runs, its QEMU does the work on our request. What it copied before an interruption stays.
        """
        with self.pool.working(f"can't flatten {image}") as (rbd, ioctx):
            with rbd.Image(ioctx, image, read_only=True) as opened:
                if not _has_parent(rbd, opened):
                    return
                _require_deep(rbd, opened, image)
            work = _Flattening(rbd, ioctx, image)
            work.watch(on_progress)


class _Flattening:
    """The call in a thread of its own: librbd's calls keep a signal waiting until they return."""

    def __init__(self, rbd: Any, ioctx: Any, image_name: str) -> None:
        self.rbd = rbd
        self.ioctx = ioctx
        self.image_name = image_name
        self.fraction = 0.0
        self.cancelled = threading.Event()
        self.failures: list[Exception] = []
        self.thread = threading.Thread(target=self._work, daemon=True)

    def watch(self, on_progress: Callable[[float], None]) -> None:
        """Wait for the end; cancel when interrupted."""
        self.thread.start()
        try:
            working = True
            while working:
                self.thread.join(POLL_S)
                working = self.thread.is_alive()
                on_progress(self.fraction)
        finally:
            self.cancelled.set()
            self.thread.join(END_S)
        if self.failures:
            raise self.failures[0]

    def _work(self) -> None:
        try:
            with self.rbd.Image(self.ioctx, self.image_name) as image:
                image.flatten(on_progress=self._tell)
        except self.rbd.Error as error:
            self.failures.append(error)

    def _tell(self, done: int, total: int) -> int:
        """Remember how far it is; librbd ends the operation for a negative answer."""
        self.fraction = done / total if total else 1.0
        return -errno.ECANCELED if self.cancelled.is_set() else 0


def _has_parent(rbd: Any, image: Any) -> bool:
    try:
        image.parent_info()
    except rbd.ImageNotFound:
        return False
    return True


def _require_deep(rbd: Any, image: Any, image_name: str) -> None:
    """Refuse what would help nobody: without this feature the clone's own snapshots go on sharing."""
    if image.features() & rbd.RBD_FEATURE_DEEP_FLATTEN:
        return
    kept = [str(one["name"]) for one in image.list_snaps() if one.get("namespace", 0) == 0]
    if kept:
        message = f"{image_name} can't be flattened with its snapshots ({', '.join(kept)}): it is too old"
        raise VmMgrError(Kind.WRONG_STATE, message, hint="remove its snapshots first: vm-mgr purge NAME")

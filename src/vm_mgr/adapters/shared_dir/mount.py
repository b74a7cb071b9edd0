"""Know whether the directory is really there, and translate its errors."""

from __future__ import annotations

import errno
import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vm_mgr.adapters.shared_dir.files import Files, is_folder, write
from vm_mgr.bounded import OutOfTimeError, bounded
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.private import make_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Mount"]

PATIENCE_S = 10.0
FORMAT = 1
_KINDS = {
    errno.ENOSPC: (Kind.NO_RESOURCES, "the storage is full: df -h"),
    errno.EDQUOT: (Kind.NO_RESOURCES, "the quota is used up: df -h"),
    errno.EACCES: (Kind.NOT_PERMITTED, "run as root; on NFS the export needs no_root_squash"),
    errno.EPERM: (Kind.NOT_PERMITTED, "run as root; on NFS the export needs no_root_squash"),
    errno.ENOLCK: (Kind.EXTERNAL_FAILURE, "the file system's lock service doesn't answer"),
}


class Mount:
    """The directory that all nodes mount by the same absolute path, once it was initialised.

    A marker file tells it from the empty mount point that a node has before mounting, where every VM would
    seem to be gone and new ones would land on the node's own disk.
    """

    def __init__(
        self, root: Path | str, files: Files | None = None, *, patience_s: float = PATIENCE_S
    ) -> None:
        root = Path(root)
        if not root.is_absolute():
            hint = "give the absolute path by which every node mounts it"
            raise VmMgrError(Kind.INVALID, f"{str(root)!r} is not an absolute path", hint=hint)
        self.root = root
        self.files = files or Files()
        self.patience_s = patience_s

    @classmethod
    def own_of(cls, root: Path) -> Mount:
        """Give a directory that only this node has, made at its first use."""
        with _translated(f"can't make {root}", root):
            make_folder(root)
        mount = cls(root)
        mount.initialise()
        return mount

    @property
    def own(self) -> Path:
        """Where everything is that belongs to no single VM."""
        return self.root / ".vm-mgr"

    @property
    def marker(self) -> Path:
        """What an unmounted directory lacks."""
        return self.own / "storage"

    @property
    def locks(self) -> Path:
        """One file for each name that was ever locked."""
        return self.own / "locks"

    @property
    def intents(self) -> Path:
        """One file for each unfinished operation."""
        return self.own / "marks"

    @property
    def exclusive(self) -> Path:
        """The file with what each VM has alone; made when there is something to keep."""
        return self.own / "exclusive.json"

    @property
    def events(self) -> Path:
        """One file for each node, of what happened; made when there is something to keep."""
        return self.own / "events"

    def initialise(self) -> None:
        """Make an existing, mounted directory a storage, once for the whole cluster; repeating it is fine."""
        with _translated(f"can't initialise {self.root}", self.root):
            if not is_folder(self.root):
                hint = "make and mount it first"
                raise VmMgrError(Kind.NOT_FOUND, f"there is no directory {self.root}", hint=hint)
            if self.marker.exists():
                return
            for folder in (self.own, self.locks, self.intents):
                if not is_folder(folder):
                    self.files.make_folder(folder)
                self.files.sync(folder.parent)
            write(self.files, self.marker, json.dumps({"format": FORMAT}) + "\n")

    @contextmanager
    def working(self, doing: str) -> Iterator[Path]:
        """Give the directory if it is mounted and answers; translate errors."""
        self._reach()
        with _translated(doing, self.root):
            yield self.root

    def _reach(self) -> None:
        """Look for the marker in a thread: a server that is gone would hold this one for ever.

        The end of the process may still wait for the kernel, but its answer is out.
        """
        try:
            bounded(self.marker.stat, self.patience_s)
        except OutOfTimeError as error:
            message = f"the storage {self.root} does not answer within {self.patience_s:.0f} s"
            hint = f"look at it: findmnt {self.root}"
            raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=hint) from error
        except (FileNotFoundError, NotADirectoryError) as error:
            message = f"the storage is not mounted: there is no {self.marker}"
            hint = (
                "the cluster mounts it, but not on a node in standby; see: crm_mon -1; "
                "end a standby: crm_standby -N NODE -D -l reboot (after a drain), or without -l; "
                f"only where the cluster has no resource for it: mount {self.root}; "
                "a new one is initialised once, by hand"
            )
            raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=hint) from error
        except OSError as error:
            raise _failed(f"can't reach the storage {self.root}", error, self.root) from error


@contextmanager
def _translated(doing: str, root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _failed(doing, error, root) from error


def _failed(doing: str, error: OSError, root: Path) -> VmMgrError:
    words = error.strerror or type(error).__name__
    kind, hint = _KINDS.get(error.errno or 0, (Kind.EXTERNAL_FAILURE, f"look at it: findmnt {root}"))
    where = f" ({error.filename})" if error.filename else ""
    return VmMgrError(kind, f"{doing}: {words}{where}", hint=hint)

"""Do what single disks need: describe them, see whether they are in use, change their snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vm_mgr.adapters.shared_dir import commands, parse
from vm_mgr.errors import Kind, ProgramError, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from vm_mgr.adapters.shared_dir.parse import Image
    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.runner import Runner

__all__ = ["Images", "Look"]

SHORT_S = 30.0
# Deleting a snapshot and going back to one touch every reference count.
LONG_S = 3600.0
NO_LIMIT_S = 24 * 3600.0


class Look(NamedTuple):
    """A disk as it is now."""

    path: Path
    image: Image
    in_use: bool


class Images:
    """The disks' files, through qemu-img."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def describe(self, path: Path) -> Image:
        """Read size and snapshots, also of a disk that is in use."""
        return parse.image(str(path), self._run(_info(path, shared=True), SHORT_S))

    def look(self, path: Path) -> Look:
        """Describe a disk and tell whether a QEMU has it open for writing.

        A writer holds locks on bytes of the file (QEMU's docs/system/images.rst), which `info` without -U
        asks for and fails; that it was this and no damage shows `info` with -U, which succeeds. The locks are
        fcntl(2)'s, so of another node's QEMU this is as true as the file system makes them: NFS 4 and
        CephFS pass them on, GFS2 and OCFS2 with the DLM's control daemon, OCFS2 with its own stack (o2cb)
        not. Operations ask the cluster first; this is the second look.
        """
        alone = self.runner.run(_info(path, shared=False), timeout_s=SHORT_S)
        if alone.exit_code == 0:
            return Look(path, parse.image(str(path), alone.stdout), in_use=False)
        return Look(path, self.describe(path), in_use=True)

    def require_unused(self, name: VmName, paths: Iterable[Path]) -> list[Look]:
        """Raise WRONG_STATE if one is in use."""
        looks = [self.look(path) for path in paths]
        for used in (one for one in looks if one.in_use):
            message = f"{used.path.name} of {name} is in use"
            raise VmMgrError(Kind.WRONG_STATE, message, hint=f"stop it first: vm-mgr stop {name}")
        return looks

    def create(self, path: Path, size_bytes: int) -> None:
        """Make an empty disk."""
        self._run(commands.create(str(path), size_bytes), SHORT_S)

    def resize(self, path: Path, size_bytes: int) -> None:
        """Grow a disk."""
        self._run(commands.resize(str(path), size_bytes), SHORT_S)

    def convert(self, argv: Sequence[str], on_progress: Callable[[float], None], what: str = "") -> None:
        """Run a copy or comparison that tells how far it is; what: the source, for people."""

        def on_line(line: str) -> None:
            fraction = parse.progress_fraction(line)
            if fraction is not None:
                on_progress(fraction)

        completed = self.runner.run(argv, timeout_s=NO_LIMIT_S, on_line=on_line)
        if completed.exit_code != 0:
            program, source = argv[argv.index("qemu-img") :], what or argv[-2]
            failure = ProgramError(program, completed.exit_code, completed.stderr or completed.stdout)
            wrong = "and its copy are not the same" if "compare" in program else "can't be read whole"
            message = f"{source} {wrong}: {failure.message}"
            raise VmMgrError(failure.kind, message, hint=f"look: qemu-img check {source}") from failure

    def clone(self, source: Path, snapshot: str, target: Path) -> None:
        """Fill an empty file with a disk as a snapshot shows it, sharing blocks where the file system can.

        An internal snapshot can't be a backing file. So the whole file is copied by reflink, which takes
        no time (XFS, OCFS2, NFS 4.2, btrfs), and the copy is taken back to the snapshot and freed of all of
        them. While a QEMU writes, or has begun to meanwhile, the snapshot is read out of its file instead.
        """
        look = self.look(source)
        if not look.image.has(snapshot):
            raise VmMgrError(Kind.NOT_FOUND, f"{source} has no snapshot {snapshot!r}")
        shared = not look.in_use and self._succeeds(commands.reflink(str(source), str(target)))
        if shared and not self.look(source).in_use:
            self.apply_snapshot(look._replace(path=target), snapshot)
            for name in {inner.name for inner in look.image.snapshots}:
                self.delete_snapshot(look._replace(path=target), name)
        else:
            self._run(commands.extract(str(source), snapshot, str(target)), NO_LIMIT_S)

    def create_snapshot(self, look: Look, snapshot: str) -> None:
        """Keep the disk's state under a name that it doesn't have."""
        self._run(commands.create_snapshot(str(look.path), snapshot), LONG_S)

    def delete_snapshot(self, look: Look, snapshot: str) -> None:
        """Delete a snapshot; other tools can have made several of one name."""
        for inner in look.image.snapshots:
            if inner.name == snapshot:
                self._run(commands.delete_snapshot(str(look.path), snapshot), LONG_S)

    def apply_snapshot(self, look: Look, snapshot: str) -> None:
        """Take the disk back."""
        ident = next(inner.ident for inner in look.image.snapshots if inner.name == snapshot)
        self._run(commands.apply_snapshot(str(look.path), ident), LONG_S)

    def _succeeds(self, argv: Sequence[str]) -> bool:
        return self.runner.run(argv, timeout_s=NO_LIMIT_S).exit_code == 0

    def _run(self, argv: Sequence[str], timeout_s: float) -> str:
        completed = self.runner.run(argv, timeout_s=timeout_s)
        if completed.exit_code != 0:
            raise ProgramError(completed.argv, completed.exit_code, completed.stderr)
        return completed.stdout


def _info(path: Path, *, shared: bool) -> tuple[str, ...]:
    return commands.info(str(path), shared=shared, image_format="qcow2")

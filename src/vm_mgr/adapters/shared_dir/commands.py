"""Build the argv of qemu-img and cp."""

__all__ = [
    "apply_snapshot",
    "compare",
    "convert",
    "create",
    "create_snapshot",
    "delete_snapshot",
    "extract",
    "info",
    "reflink",
    "resize",
]

# A copy ends with its caller: nobody could recover a creation into which a forgotten copy still writes.
_TIED = ("setpriv", "--pdeathsig", "KILL", "--")
# Many requests under way, in any order.
_SPEED = ("-W", "-m", "16", "-t", "writeback")


def info(path: str, *, shared: bool, image_format: str = "") -> tuple[str, ...]:
    """Describe an image; only shared (-U) it succeeds while a writer has the image open."""
    sharing = ("-U",) if shared else ()
    probing = ("-f", image_format) if image_format else ()
    return ("qemu-img", "info", *sharing, *probing, "--output=json", path)


def create(path: str, size_bytes: int) -> tuple[str, ...]:
    """Make an empty disk of format 3, which alone can be resized with snapshots in it."""
    return ("qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=1.1", path, str(size_bytes))


def convert(source: str, source_format: str, target: str, *, snapshot: str = "") -> tuple[str, ...]:
    """Copy an image, or a snapshot in it, into an existing, empty one: holes stay holes.

    -U reads a source that its QEMU writes to; a snapshot's clusters don't change while it is there.
    """
    what = ("-U", "-l", f"snapshot.name={snapshot}") if snapshot else ()
    formats = ("-f", source_format, "-O", "qcow2")
    return (
        *_TIED,
        *("qemu-img", "convert", "-p", "-n", "--target-is-zero", *_SPEED),
        *(*what, *formats, source, target),
    )


def compare(source: str, source_format: str, target: str) -> tuple[str, ...]:
    """Read both and compare; exit status 1 says that they differ."""
    return (*_TIED, "qemu-img", "compare", "-p", "-f", source_format, "-F", "qcow2", source, target)


def extract(source: str, snapshot: str, target: str) -> tuple[str, ...]:
    """Copy a snapshot into a new image, of the size that the disk has by now."""
    what = ("-U", "-l", f"snapshot.name={snapshot}")
    formats = ("-f", "qcow2", "-O", "qcow2", "-o", "compat=1.1")
    return (*_TIED, "qemu-img", "convert", *_SPEED, *what, *formats, source, target)


def reflink(source: str, target: str) -> tuple[str, ...]:
    """Copy a file by sharing its blocks; fails where the file system can't."""
    return (*_TIED, "cp", "--reflink=always", "--", source, target)


def resize(path: str, size_bytes: int) -> tuple[str, ...]:
    """Make a disk larger; without --shrink qemu-img refuses anything else."""
    return ("qemu-img", "resize", "-q", "-f", "qcow2", path, str(size_bytes))


def create_snapshot(path: str, snapshot: str) -> tuple[str, ...]:
    """Keep the disk's state; qemu-img would make a second one of the same name."""
    return ("qemu-img", "snapshot", "-q", "-c", snapshot, path)


def delete_snapshot(path: str, snapshot: str) -> tuple[str, ...]:
    """Delete one by its name."""
    return ("qemu-img", "snapshot", "-q", "-d", snapshot, path)


def apply_snapshot(path: str, ident: str) -> tuple[str, ...]:
    """Take the disk back by the snapshot's id.

    Not by its name: -a takes what it is given for an id first (find_snapshot_by_id_or_name in QEMU's
    block/qcow2-snapshot.c), so a snapshot that is named "1" could not be reached, and another one was taken.
    """
    return ("qemu-img", "snapshot", "-q", "-a", ident, path)

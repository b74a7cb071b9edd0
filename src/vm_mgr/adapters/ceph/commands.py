"""Build qemu-img's argv."""

__all__ = ["compare", "convert", "rbd_path"]


TIED = ("setpriv", "--pdeathsig", "KILL", "--")


def compare(source: str, source_format: str, target: str) -> tuple[str, ...]:
    """Read both and compare; exit status 1 says that they differ."""
    return (*TIED, "qemu-img", "compare", "-p", "-f", source_format, "-F", "raw", source, target)


def rbd_path(image: str, *, pool: str, user: str, conf: str) -> str:
    """Name an image, or image@snapshot, as QEMU's tools want it."""
    return f"rbd:{pool}/{image}:id={user}:conf={conf}"


def convert(source: str, source_format: str, target: str) -> tuple[str, ...]:
    """Copy into an existing, empty image: holes stay holes, and writes go in parallel.

    It ends with its caller: nobody could settle a creation into which a forgotten copy still writes.
    """
    speed = ("-W", "-m", "16", "-t", "writeback")
    formats = ("-f", source_format, "-O", "raw")
    return (*TIED, "qemu-img", "convert", "-p", "-n", "--target-is-zero", *speed, *formats, source, target)

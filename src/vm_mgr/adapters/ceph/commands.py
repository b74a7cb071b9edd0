"""Build qemu-img's argv."""

__all__ = ["convert", "rbd_path"]


def rbd_path(image: str, *, pool: str, user: str, conf: str) -> str:
    """Name an image, or image@snapshot, as QEMU's tools want it."""
    return f"rbd:{pool}/{image}:id={user}:conf={conf}"


def convert(source: str, source_format: str, target: str) -> tuple[str, ...]:
    """Copy into an existing, empty image: holes stay holes, and writes go in parallel.

    It ends with its caller: nobody could settle a creation into which a forgotten copy still writes.
    """
    tied = ("setpriv", "--pdeathsig", "KILL", "--")
    speed = ("-W", "-m", "16", "-t", "writeback")
    formats = ("-f", source_format, "-O", "raw")
    return (*tied, "qemu-img", "convert", "-p", "-n", "--target-is-zero", *speed, *formats, source, target)

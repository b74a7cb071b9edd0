"""Build qemu-img's argv."""

__all__ = ["convert", "info"]


def info(path: str) -> tuple[str, ...]:
    """Describe an image file; -U reads it even while something else has it open."""
    return ("qemu-img", "info", "-U", "--output=json", path)


def convert(path: str, image: str, *, pool: str, user: str, conf: str) -> tuple[str, ...]:
    """Copy a qcow2 file into an existing, empty image: holes stay holes, and writes go in parallel."""
    target = f"rbd:{pool}/{image}:id={user}:conf={conf}"
    options = (
        "-p",
        "-n",
        "--target-is-zero",
        "-W",
        "-m",
        "16",
        "-t",
        "writeback",
        "-f",
        "qcow2",
        "-O",
        "raw",
    )
    return ("qemu-img", "convert", *options, path, target)

"""Read qemu-img's answers."""

import json
import re
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError

__all__ = ["Image", "Inner", "image", "progress_fraction"]

_PERCENT = re.compile(r"\(\s*([0-9.]+)/100%\)")


class Inner(NamedTuple):
    """A snapshot inside an image."""

    ident: str
    name: str
    taken_utc: float


class Image(NamedTuple):
    """A disk as qemu-img describes it; sizes in bytes."""

    size_bytes: int
    used_bytes: int
    snapshots: tuple[Inner, ...]

    def has(self, snapshot: str) -> bool:
        """Tell whether a snapshot of this name is in it."""
        return any(inner.name == snapshot for inner in self.snapshots)


def image(path: str, raw: str) -> Image:
    """Read `qemu-img info --output=json` of one of our disks."""
    try:
        answer = json.loads(raw)
        inner = tuple(
            Inner(
                str(entry["id"]), str(entry["name"]), int(entry["date-sec"]) + int(entry["date-nsec"]) / 1e9
            )
            for entry in answer.get("snapshots", ())
        )
        return Image(int(answer["virtual-size"]), int(answer["actual-size"]), inner)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise _unreadable(path) from error


def progress_fraction(line: str) -> float | None:
    """Read a line of `qemu-img convert -p`.

    >>> progress_fraction("    (12.50/100%)")
    0.125
    """
    found = _PERCENT.search(line)
    return float(found.group(1)) / 100 if found else None


def _unreadable(path: str) -> VmMgrError:
    return VmMgrError(Kind.EXTERNAL_FAILURE, f"can't read what qemu-img says of {path}")

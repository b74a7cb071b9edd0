"""Read qemu-img's answers."""

import json
import re

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import ImageFile

__all__ = ["image_file", "progress_fraction"]

_PERCENT = re.compile(r"\(\s*([0-9.]+)/100%\)")


def image_file(path: str, raw: str) -> ImageFile:
    """Read `qemu-img info --output=json`."""
    try:
        answer = json.loads(raw)
        return ImageFile(path, str(answer["format"]), int(answer["virtual-size"]))
    except (ValueError, KeyError, TypeError) as error:
        raise VmMgrError(Kind.EXTERNAL_FAILURE, f"can't read what qemu-img says of {path}") from error


def progress_fraction(line: str) -> float | None:
    """Read a line of `qemu-img convert -p`.

    >>> progress_fraction("    (12.50/100%)")
    0.125
    """
    found = _PERCENT.search(line)
    return float(found.group(1)) / 100 if found else None

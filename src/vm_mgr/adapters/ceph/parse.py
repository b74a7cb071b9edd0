"""Read qemu-img's answers."""

import re

__all__ = ["progress_fraction"]

_PERCENT = re.compile(r"\(\s*([0-9.]+)/100%\)")


def progress_fraction(line: str) -> float | None:
    """Read a line of `qemu-img convert -p`.

    >>> progress_fraction("    (12.50/100%)")
    0.125
    """
    found = _PERCENT.search(line)
    return float(found.group(1)) / 100 if found else None

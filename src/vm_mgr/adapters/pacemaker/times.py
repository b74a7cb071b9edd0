"""Read times as Pacemaker writes them."""

import re

__all__ = ["seconds"]

_UNITS = {
    "": 1.0,
    "s": 1.0,
    "sec": 1.0,
    "us": 1e-6,
    "usec": 1e-6,
    "ms": 0.001,
    "msec": 0.001,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
}
_DURATION = re.compile(r"PT(?=\d)(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?")


def seconds(text: str) -> float | None:
    """Read a number with or without a unit, or a duration of ISO 8601 below a day; None for anything else.

    >>> [seconds(text) for text in ("30", "30s", "1500ms", "2min", "PT1M30S", "PT", "soon")]
    [30.0, 30.0, 1.5, 120.0, 90.0, None, None]
    """
    text = text.strip()
    duration = _DURATION.fullmatch(text)
    if duration:
        hours, minutes, rest = (int(part or 0) for part in duration.groups())
        return float(hours * 3600 + minutes * 60 + rest)
    found = re.fullmatch(r"([0-9]{1,9})\s*([a-z]*)", text, flags=re.IGNORECASE)
    unit = _UNITS.get(found[2].lower()) if found else None
    return int(found[1]) * unit if found and unit else None

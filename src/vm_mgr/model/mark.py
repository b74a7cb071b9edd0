"""Describe an operation that was begun and has not ended."""

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Mark"]


class Mark(NamedTuple):
    """What is being done to a VM, by which node, since when (seconds since 1970), and what settles it."""

    verb: str
    node: str = ""
    began_utc: float = 0.0
    details: Mapping[str, str] = {}

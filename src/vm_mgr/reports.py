"""Type what an operation may say while it works: progress, notes, warnings."""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

__all__ = ["Level", "Note", "Progress", "Report", "Say", "silent"]


class Level(Enum):
    """Rank a note."""

    INFO = "info"
    WARNING = "warning"


class Note(NamedTuple):
    """One line for people with a stable code for programs."""

    level: Level
    code: str
    message: str
    hint: str = ""


class Progress(NamedTuple):
    """How far a step is: a fraction from 0 to 1, or None where nobody knows; of so many bytes.

    detail: rates and the expected end in words, where the fraction alone would not tell them rightly.
    """

    step: str
    fraction: float | None = None
    total_bytes: int | None = None
    detail: str = ""


Report = Note | Progress
Say = Callable[[Report], None]


def silent(report: Report) -> None:
    """Drop a report."""

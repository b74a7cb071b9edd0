"""What a measurement is: its figures by name, and the rows of the page that are made of them."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Measure", "Result", "Row", "median", "ratio", "seconds"]

# Figures by name, in the unit that the rows say; every run is kept.
Result = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the page: what is promised, the bar, and what tells the figure (None: not measured)."""

    what: str
    bar: str
    tell: Callable[[Result], str | None]


@dataclass(frozen=True, slots=True)
class Measure:
    """A measurement and its rows."""

    take: Callable[[], Result]
    rows: tuple[Row, ...]


def median(result: Result, name: str) -> float | None:
    """Give the middle one of a figure's runs."""
    values = result.get(name)
    return statistics.median(values) if values else None


def seconds(name: str) -> Callable[[Result], str | None]:
    """Tell a time: median, minimum, maximum."""

    def tell(result: Result) -> str | None:
        value = median(result, name)
        if value is None:
            return None
        values = result[name]
        return f"{value:.1f} s ({min(values):.1f} to {max(values):.1f}, {len(values)} runs)"

    return tell


def ratio(name: str, *bases: str) -> Callable[[Result], str | None]:
    """Tell how many times as long as all of the bases together."""

    def tell(result: Result) -> str | None:
        value, base = median(result, name), [median(result, other) for other in bases]
        if value is None or None in base:
            return None
        total = sum(part for part in base if part is not None)
        unit, scale = ("ms", 1000) if value < 1 else ("s", 1)
        told = f"{value / total:.2f} x" if value * 10 > total else f"1 : {total / value:.0f}"
        return f"{told} ({value * scale:.1f} {unit} : {total * scale:.1f} {unit})"

    return tell

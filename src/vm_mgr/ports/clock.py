"""Ask for time."""

from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """Time that tests can make virtual."""

    def monotonic(self) -> float:
        """Give seconds that never jump."""
        ...

    def utc(self) -> float:
        """Give seconds since 1970."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...

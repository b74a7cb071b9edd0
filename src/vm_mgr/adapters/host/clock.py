"""Tell real time."""

import time

__all__ = ["SystemClock"]


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        """Give seconds that never jump."""
        return time.monotonic()

    def utc(self) -> float:
        """Give seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

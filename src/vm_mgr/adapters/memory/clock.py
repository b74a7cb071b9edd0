"""Time that passes only when somebody sleeps."""

__all__ = ["VirtualClock"]


class VirtualClock:
    """A clock that costs nothing."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def monotonic(self) -> float:
        """Give seconds that never jump."""
        return self.now

    def utc(self) -> float:
        """Give seconds since 1970."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

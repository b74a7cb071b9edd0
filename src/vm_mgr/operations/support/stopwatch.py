"""Measure what an operation waits for."""

from vm_mgr.ports.clock import Clock

__all__ = ["Stopwatch"]


class Stopwatch:
    """Milliseconds by what they were spent on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self.milliseconds: dict[str, int] = {}

    def end(self, what: str) -> None:
        """Name what was done since the last end."""
        now = self._clock.monotonic()
        self.milliseconds[what] = round((now - self._began) * 1000)
        self._began = now

"""Run operations without a change: the real ports are read, an overlay in memory takes the changes."""

__all__: list[str] = []

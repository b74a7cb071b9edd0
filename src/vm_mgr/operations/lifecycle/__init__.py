"""What starts, stops and removals have in common: waiting, unfinished operations, saved memory."""

__all__: list[str] = []

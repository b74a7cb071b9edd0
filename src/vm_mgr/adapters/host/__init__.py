"""Meet the ports that concern this machine itself: programs, processes, time."""

__all__: list[str] = []

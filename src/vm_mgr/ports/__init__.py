"""State what the operations need from the world, as small protocols.

Import the modules themselves: gathering them here would load them all for every `vm-mgr status`.
"""

__all__: list[str] = []

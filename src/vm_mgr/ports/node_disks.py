"""Do to this node's half of a replicated disk what the records of its storage say."""

from collections.abc import Sequence
from typing import Protocol

__all__ = ["NodeDisks"]


class NodeDisks(Protocol):
    """A closed list of steps; each can be repeated, and looks up by itself what it is to do."""

    def do(self, words: Sequence[str]) -> str:
        """Take a step, named by words that may come from another node; gives one line.

        Raises INVALID for words that name none.
        """
        ...

"""Describe what nodes and storages can hold at most."""

from typing import NamedTuple

__all__ = ["NodeCapacity", "Room", "size_words"]


class NodeCapacity(NamedTuple):
    """What a node has in all, also where other VMs use it.

    free_bytes: what of its memory is free or can be freed; None where that is not known.
    """

    memory_bytes: int
    cpus: int
    free_bytes: int | None = None


class Room(NamedTuple):
    """What a storage can hold at most, were it empty, and what it can still take now."""

    total_bytes: int
    free_bytes: int


def size_words(size_bytes: int) -> str:
    """Give a size for people.

    >>> size_words(10 << 30), size_words(1536 << 20), size_words(900 << 40), size_words(7)
    ('10 GiB', '1.5 GiB', '900 TiB', '7 bytes')
    """
    for unit, bits in (("TiB", 40), ("GiB", 30), ("MiB", 20)):
        if size_bytes >= 1 << bits:
            return f"{round(size_bytes / (1 << bits), 1):g} {unit}"
    return f"{size_bytes} bytes"

"""Describe what `list --wide` tells of a VM beside its state."""

from typing import NamedTuple

__all__ = ["Wide"]


class Wide(NamedTuple):
    """What is stored of it; on_move: a word of model/on_move.py; storage: its label."""

    memory_bytes: int
    vcpus: int
    on_move: str
    storage: str
    description: str

"""Ports of which nothing is wanted in a dry run, and nothing is to be said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.ports.node_runner import NodeVerb

if TYPE_CHECKING:
    from vm_mgr.model.cluster import NodeName
    from vm_mgr.model.event import Event
    from vm_mgr.model.nvram import NvramPlaces
    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.env import Env
    from vm_mgr.ports.holds import Hold

__all__ = ["AbsentNodes", "NoCopies", "NullJournal", "Unlimited"]


class NullJournal:
    """A journal in which nothing is written: nothing has happened."""

    def caller(self) -> str:
        """Name nobody."""
        return ""

    def record(self, event: Event) -> None:
        """Keep quiet."""

    def write(self, event: Event) -> None:
        """Keep quiet."""

    def say(self, text: str, *, warning: bool = False) -> None:
        """Keep quiet."""


class Unlimited:
    """Limits of guests that nobody holds."""

    def begin(self, name: VmName, hold: Hold, after_s: float) -> None:
        """Set none."""

    def end(self, name: VmName) -> None:
        """Forget none."""


class AbsentNodes:
    """Other nodes, of which nothing is wanted: what they keep has to be kept for a change only."""

    def run(self, node: NodeName, verb: NodeVerb, *words: str) -> str:  # noqa: ARG002
        """Say that it is done."""
        return "kept" if verb is NodeVerb.KEEP_NVRAM else ""


class NoCopies:
    """UEFI variables and TPMs of this node, of which none is to be kept."""

    def __init__(self, real: Env) -> None:
        self._real = real

    def read(self, places: NvramPlaces) -> bytes:
        """Read the real ones."""
        return self._real.nvram_files.read(places)

    def kept(self, name: VmName) -> None:
        """Know none."""

    def place(self, places: NvramPlaces, packed: bytes) -> None:
        """Place none."""

    def note(self, name: VmName, places: NvramPlaces, digest: str, *, as_of_s: float) -> None:
        """Note none."""

    def forget(self, name: VmName) -> None:
        """Forget none."""

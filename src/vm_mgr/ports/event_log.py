"""Keep what happened, for the whole cluster and for some time."""

from collections.abc import Sequence
from typing import Protocol

from vm_mgr.model.event import Event

__all__ = ["EventLog", "Journal"]


class EventLog(Protocol):
    """One for the whole cluster, kept in its storage; out of reach raises EXTERNAL_FAILURE.

    The newest few thousand events are kept.
    """

    def append(self, events: Sequence[Event]) -> None:
        """Keep events, from whichever node; not for the path of a recovery, since a storage can hang."""
        ...

    def read(self, since_utc: float = 0.0) -> list[Event]:
        """Give the events since a time, the oldest first."""
        ...


class Journal(Protocol):
    """Where an event is told on this node, at once; never raises and never waits."""

    def caller(self) -> str:
        """Say who has called this program, and on which machine: USER on HOST."""
        ...

    def record(self, event: Event) -> None:
        """Write an event to the system's journal, and hand it to who keeps it in the event log."""
        ...

    def write(self, event: Event) -> None:
        """Write an event to the system's journal only."""
        ...

    def say(self, text: str, *, warning: bool = False) -> None:
        """Write a line of the resource agent's to the system's journal (journalctl -t vm-mgr-agent)."""
        ...

"""An event log and a journal in memory."""

from collections.abc import Sequence

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.event import Event

__all__ = ["MemoryEventLog", "MemoryJournal"]


class MemoryEventLog:
    """Events in a list; hanging makes it fail as a storage does that is out of reach."""

    def __init__(self) -> None:
        self.kept: list[Event] = []
        self.hanging = False

    def append(self, events: Sequence[Event]) -> None:
        """Keep them."""
        self._reach()
        self.kept.extend(event._replace(when_utc=round(event.when_utc, 3)) for event in events)

    def read(self, since_utc: float = 0.0) -> list[Event]:
        """Give them in order."""
        self._reach()
        found = [event for event in self.kept if event.when_utc >= since_utc]
        return sorted(found, key=lambda event: event.when_utc)

    def _reach(self) -> None:
        if self.hanging:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "the event log is out of reach")


class MemoryJournal:
    """What was told; handed names what is also to be kept."""

    def __init__(self) -> None:
        self.written: list[Event] = []
        self.handed: list[Event] = []
        self.lines: list[str] = []

    def caller(self) -> str:
        """Be always the same."""
        return "root on n1"

    def record(self, event: Event) -> None:
        """Remember it as told and handed over."""
        self.write(event)
        self.handed.append(event)

    def write(self, event: Event) -> None:
        """Remember it as told."""
        self.written.append(event)

    def say(self, text: str, *, warning: bool = False) -> None:  # noqa: ARG002 - as the port has it
        """Remember the line."""
        self.lines.append(text)

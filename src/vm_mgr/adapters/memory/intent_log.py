"""An intent log in memory."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from vm_mgr.errors import BusyError
from vm_mgr.model.intent import Intent, Key
from vm_mgr.model.vm import VmName

__all__ = ["MemoryIntentLog"]


class MemoryIntentLog:
    """Intents and locks in dictionaries."""

    def __init__(self) -> None:
        self.kept: dict[VmName, Intent] = {}
        self.locked: set[str] = set()
        self.who = ""

    @contextmanager
    def lock(self, name: VmName | Key) -> Iterator[None]:
        """Be alone."""
        stored = str(name)
        if stored in self.locked:
            raise BusyError(stored, self.who, hint="try again when it has ended")
        self.locked.add(stored)
        try:
            yield
        finally:
            self.locked.discard(stored)

    def intents(self) -> Mapping[VmName, Intent]:
        """Give all intents."""
        return dict(self.kept)

    def write(self, name: VmName, intent: Intent) -> None:
        """Keep an intent."""
        self.kept[name] = intent

    def erase(self, name: VmName) -> None:
        """Forget it."""
        self.kept.pop(name, None)

"""Remember which operation is at a VM, so that it is alone there and what a kill leaves is found."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from vm_mgr.model.intent import Intent, Key
from vm_mgr.model.vm import VmName

__all__ = ["IntentLog"]


class IntentLog(Protocol):
    """One intent log for the whole cluster, kept in its storage; out of reach raises EXTERNAL_FAILURE."""

    def lock(self, name: VmName | Key) -> AbstractContextManager[None]:
        """Be the only one at a name, on all nodes, until the context is left or this process dies.

        Raises TRY_LATER while somebody else is. After a kill the lock lasts for up to 30 s more.
        """
        ...

    def intents(self) -> Mapping[VmName, Intent]:
        """Give what was begun and has not ended, by the name it was written for."""
        ...

    def write(self, name: VmName, intent: Intent) -> None:
        """Keep an intent, replacing what the name had."""
        ...

    def erase(self, name: VmName) -> None:
        """Forget the name's intent; absent is fine."""
        ...

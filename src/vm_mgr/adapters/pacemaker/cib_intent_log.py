"""Meet the intent log port with the CIB, for clusters whose storages have no place for it.

A lock names a process and has no end of its own: renewing it would be a change of the configuration, and
have Pacemaker compute its plans anew, every few seconds. It is over once that process has provably ended.
"""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, ClassVar

from vm_mgr.adapters.pacemaker.cib_records import INTENTS, LOCKS, read_records, write_record
from vm_mgr.errors import BusyError, Kind, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.intent import Intent, Key, read_intent, write_intent
from vm_mgr.model.lock_owner import LockOwner, read_owner
from vm_mgr.model.vm import VmName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lxml import etree

    from vm_mgr.adapters.pacemaker.cib import Cib
    from vm_mgr.ports.clock import Clock
    from vm_mgr.ports.cluster import ClusterView
    from vm_mgr.ports.processes import Processes

    EndedAt = Callable[[NodeName, int, str], bool]

__all__ = ["CibIntentLog"]


class CibIntentLog:
    """Two sets of cluster options, vm-mgr-locks and vm-mgr-intents."""

    # The locks that this process has, by whichever object: another one in its name is left over.
    tokens: ClassVar[set[str]] = set()

    def __init__(
        self,
        cib: Cib,
        cluster: ClusterView,
        clock: Clock,
        processes: Processes,
        ended_at: EndedAt,
        *,
        doing: Callable[[], str] = lambda: "",
    ) -> None:
        """Processes are this node's; ended_at is their has_ended on another one, and may raise.

        Doing names the command that locks.
        """
        self.cib = cib
        self.cluster = cluster
        self.clock = clock
        self.processes = processes
        self.ended_at = ended_at
        self.doing = doing
        self._held: dict[str, str] = {}

    @contextmanager
    def lock(self, name: VmName | Key) -> Iterator[None]:
        """Write the lock where there is none, or its process has ended."""
        stored, ours = str(name), self._owner()
        raw = ours.written()
        self.tokens.add(ours.token)
        try:
            self._take(stored, raw)
            self._held[stored] = raw
            yield
        finally:
            self._held.pop(stored, None)
            self.tokens.discard(ours.token)
            with suppress(VmMgrError):  # it ends with this process
                self.cib.edit(lambda cib: _release(cib, stored, raw))

    def intents(self) -> Mapping[VmName, Intent]:
        """Read all intents."""
        found = read_records(self.cib.read(), INTENTS)
        return {VmName(name): read_intent(raw) for name, raw in found.items()}

    def write(self, name: VmName, intent: Intent) -> None:
        """Set one record."""
        self._change(name, write_intent(intent))

    def erase(self, name: VmName) -> None:
        """Remove one record."""
        self._change(name, None)

    def _change(self, name: VmName, text: str | None) -> None:
        """Change an intent; under the lock of its name only while the CIB has that, in one transaction."""

        def change(cib: etree._Element) -> None:
            ours = self._held.get(name)
            if ours is not None and read_records(cib, LOCKS).get(name) != ours:
                message = f"the lock of {name} has ended; another command may have taken over"
                raise VmMgrError(Kind.TRY_LATER, message, hint="look at it with vm-mgr list")
            write_record(cib, INTENTS, name, text)

        self.cib.edit(change)

    def _take(self, stored: str, ours: str) -> None:
        ended: str | None = None
        while (holder := self._write_lock(stored, ours, instead_of=ended)) is not None:
            owner = read_owner(holder)
            if owner is None or not self._has_ended(owner):
                who = owner.words(self.clock.utc()) if owner else ""
                hint = f"try again when it has ended; if its node is gone for good: {_removal(stored)}"
                raise BusyError(stored, who, hint=hint)
            ended = holder

    def _write_lock(self, stored: str, ours: str, *, instead_of: str | None) -> str | None:
        """Write it where there is none, or this very one; give the one that was met."""
        holder: str | None = None

        def change(cib: etree._Element) -> None:
            nonlocal holder
            present = read_records(cib, LOCKS).get(stored)
            holder = None if present == instead_of else present
            if holder is None:
                write_record(cib, LOCKS, stored, ours)

        self.cib.edit(change)
        return holder

    def _owner(self) -> LockOwner:
        node, pid = self.cluster.local_node(), os.getpid()
        birth, token = self.processes.birth(pid), secrets.token_hex(4)
        if not birth:
            hint = "mount /proc: others see there when this command has ended"
            raise VmMgrError(Kind.ENVIRONMENT, "this node's processes can't be seen", hint=hint)
        return LockOwner(node, pid, birth, token, self.doing(), int(self.clock.utc()))

    def _has_ended(self, owner: LockOwner) -> bool:
        """Tell whether a process has ended for certain: its node says so, or was fenced and is not back."""
        node, here = NodeName(owner.node), self.cluster.local_node()
        if (node, owner.process) == (here, os.getpid()) and owner.token not in self.tokens:
            return True
        try:
            if node == here:
                return self.processes.has_ended(owner.process, owner.birth)
            seen = self.cluster.state().node(node)
            if seen is None or not seen.online:
                return seen is not None and seen.gone and not self.cluster.remembers(node)
            return self.ended_at(node, owner.process, owner.birth)
        except VmMgrError:
            return False


def _release(cib: etree._Element, stored: str, ours: str) -> None:
    if read_records(cib, LOCKS).get(stored) == ours:
        write_record(cib, LOCKS, stored, None)


def _removal(stored: str) -> str:
    return f"crm_attribute --type crm_config --set-name {LOCKS} --name {LOCKS}..{stored} --delete"

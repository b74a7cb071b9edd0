"""Storage daemons and clients of nodes, in memory."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from vm_mgr.model.cluster import NodeName
from vm_mgr.model.storage import DiskClient
from vm_mgr.ports.storage_fencing import Daemons

__all__ = ["MemoryDaemon", "MemoryStorageFencing"]


@dataclass(slots=True)
class MemoryDaemon:
    """A storage daemon; booted_utc is None for longer ago than is remembered."""

    number: int
    host: str
    address: str
    booted_utc: float | None = None
    up: bool = True


class MemoryStorageFencing:
    """Daemons and holders in lists, and what was asked for; on_call sees each verb before it acts."""

    def __init__(self) -> None:
        self.all_daemons: list[MemoryDaemon] = []
        self.holders: list[DiskClient] = []
        self.ended: list[int] = []
        self.certainly_dead: list[int] = []
        self.shut: list[DiskClient] = []
        self.known: set[tuple[int, float | None]] | None = None
        self.on_call: Callable[[str], None] = lambda _verb: None

    def connect(self) -> None:
        """Note it."""
        self.on_call("connect")
        self.known = {(one.number, one.booted_utc) for one in self.all_daemons if one.up}

    def daemons(self, node: NodeName, addresses: Collection[str]) -> Daemons:
        """Find those that are up."""
        self.on_call("daemons")
        own = [one for one in self.all_daemons if one.up and one.host == node and one.address in addresses]
        boots = [one.booted_utc for one in own if one.booted_utc is not None]
        return Daemons(tuple(one.number for one in own), max(boots, default=None))

    def came_up(self, numbers: Sequence[int]) -> bool | None:
        """Compare with what was up then."""
        if self.known is None:
            return None
        own = [one for one in self.all_daemons if one.number in numbers]
        return any((one.number, one.booted_utc) not in self.known for one in own)

    def end_daemons(self, numbers: Sequence[int], *, certain: bool = True) -> None:
        """Take them for dead."""
        self.on_call("end_daemons")
        self.certainly_dead.extend(numbers if certain else ())
        self.ended.extend(numbers)
        for one in self.all_daemons:
            one.up = one.up and one.number not in numbers

    def clients(self, addresses: Collection[str]) -> list[DiskClient]:
        """Look by address."""
        self.on_call("clients")
        return [holder for holder in self.holders if holder.host in addresses]

    def blocklist(self, holders: Sequence[DiskClient]) -> None:
        """Shut these out and no others."""
        self.on_call("blocklist")
        self.shut.extend(holders)
        self.holders = [holder for holder in self.holders if holder not in holders]

"""Tell the storage that a node is dead, so that it needn't find out by waiting."""

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from vm_mgr.model.cluster import NodeName
from vm_mgr.model.storage import DiskClient

__all__ = ["Daemons", "StorageFencing"]


class Daemons(NamedTuple):
    """A node's storage daemons that the storage takes for alive.

    newest_boot_utc: when the last of them came up, in seconds since 1970; None for longer ago than the
    storage remembers, and where there are none.
    """

    numbers: tuple[int, ...] = ()
    newest_boot_utc: float | None = None


class StorageFencing(Protocol):
    """A storage with daemons and clients on the cluster's nodes; out of reach raises EXTERNAL_FAILURE.

    Nothing here asks whether the node is dead: the caller has proof of it.
    """

    def connect(self) -> None:
        """Connect anew, ahead of need: whom one was connected to may have been on the lost node.

        Which daemons are up now is remembered for `came_up`.
        """
        ...

    def daemons(self, node: NodeName, addresses: Collection[str]) -> Daemons:
        """Find the daemons that say that they run on this node and have one of its addresses."""
        ...

    def came_up(self, numbers: Sequence[int]) -> bool | None:
        """Tell whether one of these, found by `daemons`, has come up since `connect`; None without one."""
        ...

    def end_daemons(self, numbers: Sequence[int], *, certain: bool = True) -> None:
        """Take the daemons for down, if certain for dead for certain; repeating it is fine.

        From one that is dead for certain nobody waits for what it may still have promised to its clients.
        """
        ...

    def clients(self, addresses: Collection[str]) -> list[DiskClient]:
        """Say which clients at these addresses have disks open for writing or locked."""
        ...

    def blocklist(self, holders: Sequence[DiskClient]) -> None:
        """Shut these very clients out, by address, port and nonce, and break their locks; all at once.

        Repeating it is fine. Another client at the same address, after a boot, is not concerned.
        """
        ...

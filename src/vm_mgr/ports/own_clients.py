"""Remember which storage clients are a VM's own QEMU's, for the node where it runs."""

from typing import NamedTuple, Protocol

from vm_mgr.model.vm import VmName

__all__ = ["Opened", "OwnClients"]


class Opened(NamedTuple):
    """What a QEMU had open: the process, by PID and birth, and the addresses of its storage clients."""

    pid: int
    birth: str
    addresses: frozenset[str] = frozenset()


class OwnClients(Protocol):
    """A note of this node, until its next boot; it is an aid, so that no verb here ever fails."""

    def keep(self, name: VmName, opened: Opened) -> None:
        """Replace the VM's note; after a crash there is the old one, the new one, or none."""
        ...

    def kept(self, name: VmName) -> Opened | None:
        """Give the VM's note; None where there is none that can be read whole."""
        ...

    def forget(self, name: VmName) -> None:
        """Remove it; none is fine."""
        ...

"""Reach into a guest from outside: its agent, its addresses, its screen."""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from vm_mgr.model.vm import VmName

__all__ = ["AddressSource", "Executed", "GuestAccess", "GuestAddress"]


class AddressSource(Enum):
    """Who knows a guest's address; the words are libvirt's (virDomainInterfaceAddressesSource)."""

    AGENT = "agent"
    LEASE = "lease"
    ARP = "arp"


class GuestAddress(NamedTuple):
    """An address of a guest, without the length of its prefix."""

    address: str
    mac: str
    source: AddressSource


class Executed(NamedTuple):
    """A program that has ended in a guest; one that a signal ended has 128 and its number, as in a shell."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class GuestAccess(Protocol):
    """The guests of a node. Every call is bounded in time, and raises EXTERNAL_FAILURE where it fails."""

    def begin(self, name: VmName, argv: Sequence[str]) -> int:
        """Have the guest's agent start a program; gives its process id in the guest."""
        ...

    def ended(self, name: VmName, pid: int) -> Executed | None:
        """Give the outcome of a program that was begun; None while it runs."""
        ...

    def addresses(self, name: VmName, source: AddressSource) -> list[GuestAddress]:
        """Ask one of those who may know; an agent that does not answer knows none."""
        ...

    def screenshot(self, name: VmName, path: str) -> None:
        """Write the guest's screen to a file of this machine, as PPM or PNG."""
        ...

    def display(self, name: VmName) -> str:
        """Give the URI of the guest's graphical console as its node sees it; empty where it has none."""
        ...

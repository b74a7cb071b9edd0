"""Guests that answer as a test has said."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName
from vm_mgr.ports.guest_access import AddressSource, Executed, GuestAddress

__all__ = ["MemoryGuests"]


@dataclass
class MemoryGuests:
    """The guests of all nodes."""

    begun: list[tuple[VmName, tuple[str, ...]]] = field(default_factory=list)
    outcomes: list[Executed | None] = field(default_factory=list)
    known: list[GuestAddress] = field(default_factory=list)
    picture: bytes = b""
    uri: str = ""

    def begin(self, name: VmName, argv: Sequence[str]) -> int:
        """Remember it."""
        self.begun.append((name, tuple(argv)))
        return len(self.begun)

    def ended(self, name: VmName, pid: int) -> Executed | None:  # noqa: ARG002
        """Give the next outcome; a guest without any more goes on for ever."""
        return self.outcomes.pop(0) if self.outcomes else None

    def addresses(self, name: VmName, source: AddressSource) -> list[GuestAddress]:  # noqa: ARG002
        """Give those of this source."""
        return [one for one in self.known if one.source is source]

    def screenshot(self, name: VmName, path: str) -> None:
        """Write the picture."""
        if not self.picture:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{name} has no screen")
        Path(path).write_bytes(self.picture)

    def display(self, name: VmName) -> str:  # noqa: ARG002
        """Give what a test has set."""
        return self.uri

"""Control running domains on this node."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from vm_mgr.model.vm import VmName

__all__ = ["Hypervisor", "Migration"]


class Migration(NamedTuple):
    """How a running domain goes to another node."""

    name: VmName
    destination_uri: str
    migrate_uri: str
    timeout_s: float
    downtime_ms: int | None = None
    speed_mib: int | None = None
    extra_options: Sequence[str] = ()


class Hypervisor(Protocol):
    """Every call is bounded in time and raises EXTERNAL_FAILURE when it fails or hangs."""

    def create(self, xml: str, name: VmName, *, timeout_s: float) -> None:
        """Start a transient domain."""
        ...

    def shutdown(self, name: VmName, *, timeout_s: float) -> None:
        """Ask the guest to power off."""
        ...

    def destroy(self, name: VmName, *, timeout_s: float) -> None:
        """Unplug."""
        ...

    def domain_state(self, name: VmName, *, timeout_s: float) -> str:
        """Give libvirt's word for the state (running, paused, …), or "absent"."""
        ...

    def migrate(self, migration: Migration) -> None:
        """Move live; on failure the domain runs on here."""
        ...

    def abort_job(self, name: VmName) -> None:
        """Cancel a migration under way; no job is fine."""
        ...

    def freeze(self, name: VmName) -> bool:
        """Have the guest's agent freeze its file systems; False for a guest without an agent that answers."""
        ...

    def thaw(self, name: VmName) -> None:
        """Let the guest's file systems go on; nothing frozen is fine."""
        ...

    def pause(self, name: VmName) -> None:
        """Stop the guest's processors; its writes under way end."""
        ...

    def resume(self, name: VmName) -> None:
        """Let them go on; a guest that runs is fine."""
        ...

    def grow(self, name: VmName, source: str, size_bytes: int) -> None:
        """Tell a running guest that the disk with this source has become larger."""
        ...

    def definition(self, name: VmName) -> str:
        """Give the XML of a domain that libvirt itself keeps, as it will start next; raises NOT_FOUND."""
        ...

    def undefine(self, name: VmName) -> None:
        """Have libvirt forget a domain that it keeps, but not its disks; absent is fine."""
        ...

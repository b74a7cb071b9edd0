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

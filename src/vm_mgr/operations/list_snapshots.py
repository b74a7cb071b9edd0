"""List a VM's snapshots."""

from vm_mgr.model.storage import Snapshot
from vm_mgr.model.vm import VmName
from vm_mgr.operations.support.preconditions import require_defined
from vm_mgr.ports.env import Env

__all__ = ["list_snapshots"]


def list_snapshots(env: Env, name: VmName) -> list[Snapshot]:
    """Give the oldest first; raises NOT_FOUND for no such VM."""
    require_defined(env, name)
    return env.storage.snapshots.of(name)

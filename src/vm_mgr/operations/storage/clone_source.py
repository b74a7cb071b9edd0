"""A clone's source, while the clone is being made."""

from vm_mgr.model.intent import Intent
from vm_mgr.model.vm import VmName
from vm_mgr.operations.storage.quiesce import resume
from vm_mgr.ports.env import Env

__all__ = ["clone_snapshot", "recover_others"]


def clone_snapshot(name: VmName) -> str:
    """Name the snapshot of a clone's source, for the moment of its making."""
    return f"vm-mgr-clone-{name}"


def recover_others(env: Env, name: VmName, intent: Intent) -> None:
    """Let a clone's source go on, without the snapshot that was taken for the clone."""
    source = VmName(intent.details.get("source", ""))
    if source and env.storage.definitions.exists(source):
        resume(env, source, intent)
        env.storage.snapshots.drop(source, clone_snapshot(name))

"""Take a snapshot of all of a VM's disks at one instant."""

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.intent import Intent
from vm_mgr.model.storage import Snapshot, snapshot_name_problems
from vm_mgr.model.vm import VmName
from vm_mgr.operations.storage.free import shed_dead
from vm_mgr.operations.storage.nvram import keep_instant
from vm_mgr.operations.storage.overlay import disk_problems
from vm_mgr.operations.storage.quiesce import quiesced, resume, will_pause
from vm_mgr.operations.support.locking import first_change, locked, with_intent
from vm_mgr.operations.support.preconditions import quorum_problems, require_defined
from vm_mgr.ports.env import Env

__all__ = ["create_snapshot", "recover"]


def create_snapshot(env: Env, name: VmName, snapshot: str) -> Snapshot:
    """Hold the guest still, take the snapshot on every disk, let the guest go on."""
    raise_all(snapshot_name_problems(snapshot))
    with locked(env, name):
        state = env.cluster.state()
        raise_all(quorum_problems(state))
        require_defined(env, name)
        if any(present.name == snapshot for present in env.storage.snapshots.of(name)):
            hint = f"choose another name, or: vm-mgr remove-snapshot {name} --snap-name {snapshot}"
            raise VmMgrError(Kind.EXISTS, f"{name} has a snapshot {snapshot} already", hint=hint)
        raise_all(disk_problems(env, state, name))
        details = {"snapshot": snapshot, "pauses": will_pause(env, name)}
        shed_dead(env, name)
        with (
            with_intent(env, name, "snapshot", **details) as step,
            first_change(step, refusals=[Kind.EXISTS]),  # it is another tool's, and stays
            quiesced(env, name) as held,
        ):
            keep_instant(env, name)
            env.storage.snapshots.take(name, snapshot, held.expected)
            proven = held.proven()
            if proven is not held.expected:
                env.storage.snapshots.regrade(name, snapshot, proven)
        return next(taken for taken in env.storage.snapshots.of(name) if taken.name == snapshot)


def recover(env: Env, name: VmName, intent: Intent) -> bool:
    """Let the guest go on and forget the snapshot: half of one is none."""
    resume(env, name, intent)
    if env.storage.definitions.exists(name):
        env.storage.snapshots.drop(name, intent.details["snapshot"])
    return False

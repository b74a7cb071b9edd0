"""Take a VM's last disk away."""

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.intent import Intent
from vm_mgr.model.storage import no_such_disk
from vm_mgr.model.vm import VmName
from vm_mgr.operations.lifecycle.saved_memory import saved_problems
from vm_mgr.operations.storage.free import require_free
from vm_mgr.operations.storage.hotplug import detach_disk, guest_sources
from vm_mgr.operations.storage.overlay import disk_problems
from vm_mgr.operations.support.locking import locked, with_intent
from vm_mgr.operations.support.preconditions import quorum_problems, require_defined, steady_problems
from vm_mgr.operations.support.removal import flatten_hint, owners_of
from vm_mgr.ports.env import Env

__all__ = ["recover", "remove_disk"]

ASKING = "asking"
DELETING = "deleting"


def remove_disk(env: Env, name: VmName, number: int) -> str:
    """Have a running guest let go of the disk, take it out of the definition, delete it; give its name.

    Only the last one can go: disks are numbered without gaps, in their names too, and the others may be open.
    """
    with locked(env, name):
        state = env.cluster.state()
        raise_all(quorum_problems(state))
        require_defined(env, name)
        problems = steady_problems(state, name) + saved_problems(env, name)
        raise_all(problems + disk_problems(env, state, name) + _problems(env, name, number))
        image = env.storage.clients.images(name)[number]
        with with_intent(env, name, "remove-disk", number=str(number), phase=ASKING) as step:
            detach_disk(env, name, _source(env, name, number))
            require_free(env, name, "as before", [image])
            step.now(DELETING)
            _delete(env, name, number)
    return image


def recover(env: Env, name: VmName, intent: Intent) -> bool:
    """Finish once the guest has let go, or deleting had begun; a VM that doesn't run now keeps the disk."""
    number = int(intent.details["number"])
    if not env.storage.definitions.exists(name):
        return False
    if intent.details["phase"] != DELETING:
        present = guest_sources(env, name)
        if present is None or _source(env, name, number) in present:
            return False
    _delete(env, name, number)
    return True


def takes_long(intent: Intent) -> bool:
    """Tell whether the disk is being deleted."""
    return intent.details["phase"] == DELETING


def _problems(env: Env, name: VmName, number: int) -> list[VmMgrError]:
    last = len(env.storage.clients.images(name)) - 1
    if number == 0:
        hint = f"only other disks can be removed; see them: vm-mgr show {name}"
        return [VmMgrError(Kind.INVALID, f"disk 0 of {name} is its system disk", hint=hint)]
    if not 0 < number <= last:
        return [no_such_disk(name, number, last + 1)]
    if number < last:
        message = f"disk {number} of {name} is not its last one; disks are numbered without gaps"
        return [VmMgrError(Kind.WRONG_STATE, message, hint=f"only disk {last} can be removed now")]
    ties = env.storage.disks.ties(name, number)
    problems = []
    if ties.snapshots:
        message = f"disk {number} of {name} is part of snapshots: {', '.join(ties.snapshots)}"
        hint = f"remove them first: vm-mgr remove-snapshot {name} --snap-name {ties.snapshots[0]}"
        problems.append(VmMgrError(Kind.WRONG_STATE, message, hint=hint))
    if ties.clones:
        owners = owners_of(env, ties.clones)
        message = f"clones share blocks of disk {number} of {name}: {', '.join(owners)}"
        problems.append(VmMgrError(Kind.WRONG_STATE, message, hint=flatten_hint(env, owners)))
    return problems


def _delete(env: Env, name: VmName, number: int) -> None:
    source, xml = _source(env, name, number), env.storage.definitions.read(name)
    if source in env.definitions.sources(xml):
        env.storage.definitions.describe(name, {"xml": env.definitions.without_disk(xml, source)})
    env.storage.disks.drop(name, number)


def _source(env: Env, name: VmName, number: int) -> str:
    return env.storage.disks.locate(name, number, None).source

"""Make a clone independent of the VM that it was made from."""

from functools import partial

from vm_mgr.model.storage import no_such_disk
from vm_mgr.model.vm import VmName
from vm_mgr.operations.storage.free import shed_dead
from vm_mgr.operations.support.locking import asked, locked
from vm_mgr.operations.support.preconditions import require_defined
from vm_mgr.ports.env import Env
from vm_mgr.reports import Progress

__all__ = ["flatten"]


def flatten(env: Env, name: VmName, number: int | None = None) -> list[str]:
    """Give all disks, or the one with this number, blocks of their own; give the disks that shared some.

    The VM may run. No intent: at every moment the VM has what it had, and doing it again goes on.
    """
    with locked(env, name):
        require_defined(env, name)
        disks = env.storage.disks.of(name)
        if number is not None and not 0 <= number < len(disks):
            raise no_such_disk(name, number, len(disks))
        chosen = disks if number is None else [disks[number]]
        shared = [disk.image for disk in chosen if disk.parent]
        if shared:
            asked(env, name, "flatten")
            shed_dead(env, name)
        for image in shared:
            env.storage.clones.flatten(name, image, partial(_tell, env, image))
        return shared


def _tell(env: Env, image: str, fraction: float) -> None:
    env.say(Progress(f"flattening {image}", fraction))

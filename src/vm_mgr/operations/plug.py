"""Give disks to running guests and take them away."""

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName
from vm_mgr.operations.stillness import node_of
from vm_mgr.ports.env import Env
from vm_mgr.reports import Progress

__all__ = ["guest_sources", "plug", "unplug"]

# A guest that answers at all does so within moments; one that boots, or has the disk mounted, may never.
PATIENCE_S = 30.0
POLL_S = 0.5


def plug(env: Env, name: VmName, source: str) -> None:
    """Give a running guest the disk that its definition has; one that doesn't run, or has it, is fine."""
    node = node_of(env, name)
    if node is None:
        return
    hypervisor = env.hypervisor_at(node)
    if source not in hypervisor.disk_sources(name):
        hypervisor.attach(name, env.definitions.device(env.storage.definition(name), source))


def unplug(env: Env, name: VmName, source: str) -> None:
    """Ask a running guest for a disk and wait until it lets go; raises WRONG_STATE where it does not."""
    node = node_of(env, name)
    if node is None:
        return
    hypervisor = env.hypervisor_at(node)
    if source not in hypervisor.disk_sources(name):
        return
    hypervisor.detach(name, source)
    deadline = env.clock.monotonic() + PATIENCE_S
    while source in hypervisor.disk_sources(name):
        if env.clock.monotonic() > deadline:
            message = f"the guest of {name} does not let go of {source}; it is as before"
            hint = f"unmount it in the guest and run this again, or stop the VM first: vm-mgr stop {name}"
            raise VmMgrError(Kind.WRONG_STATE, message, hint=hint)
        env.say(Progress(f"waiting for the guest of {name} to let go of {source}"))
        env.clock.sleep(POLL_S)


def guest_sources(env: Env, name: VmName) -> list[str] | None:
    """Name the sources of the disks that a running guest has now; None for a VM that doesn't run."""
    node = node_of(env, name)
    return None if node is None else env.hypervisor_at(node).disk_sources(name)

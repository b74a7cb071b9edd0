"""Give disks to running guests and take them away."""

from collections.abc import Callable
from contextlib import suppress

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName
from vm_mgr.operations.migration.halves import ABSENT
from vm_mgr.operations.storage.quiesce import node_of
from vm_mgr.ports.env import Env
from vm_mgr.ports.hypervisor import GuestDisks, Hypervisor
from vm_mgr.reports import Progress

__all__ = ["at_guest", "attach_disk", "detach_disk", "guest_sources"]

# A guest that answers at all does so within moments; one that boots, or has the disk mounted, may never.
PATIENCE_S = 30.0
POLL_S = 0.5
# What the cluster takes to know that a guest has stopped, or where it has gone.
KNOWN_S = 10.0
LOOK_S = 10.0


def at_guest(env: Env, name: VmName, act: Callable[[Hypervisor], None]) -> None:
    """Do something at the node where the guest runs; not at all where it does not run.

    A guest may stop or move at any moment, and the cluster knows of it a little later: then it is done where
    it runs now.
    """
    deadline = env.clock.monotonic() + KNOWN_S
    while (node := node_of(env, name)) is not None:
        hypervisor, state = env.hypervisor_at(node), ""
        try:
            act(hypervisor)
        except VmMgrError:
            with suppress(VmMgrError):
                state = hypervisor.domain_state(name, timeout_s=LOOK_S)
            if state not in ABSENT or env.clock.monotonic() > deadline:
                raise
            env.clock.sleep(POLL_S)
        else:
            return


def attach_disk(env: Env, name: VmName, source: str) -> None:
    """Give a running guest the disk that its definition has; one that doesn't run, or has it, is fine."""

    def attach(hypervisor: GuestDisks) -> None:
        if source not in hypervisor.disk_sources(name):
            hypervisor.attach(name, env.definitions.device(env.storage.definitions.read(name), source))

    at_guest(env, name, attach)


def detach_disk(env: Env, name: VmName, source: str) -> None:
    """Ask a running guest for a disk and wait until it lets go; raises WRONG_STATE where it does not."""

    def detach(hypervisor: GuestDisks) -> None:
        if source not in hypervisor.disk_sources(name):
            return
        refused = ""
        try:
            hypervisor.detach(name, source)
        except VmMgrError as error:  # so QEMU answers for a guest that is being asked already, too
            refused = f" ({error.message})"
        deadline = env.clock.monotonic() + PATIENCE_S
        while source in hypervisor.disk_sources(name):
            if env.clock.monotonic() > deadline:
                message = f"the guest of {name} does not release {source}; it is as before{refused}"
                hint = f"unmount it in the guest and run this again, or stop the VM first: vm-mgr stop {name}"
                raise VmMgrError(Kind.WRONG_STATE, message, hint=hint)
            env.say(Progress(f"waiting for the guest of {name} to release {source}"))
            env.clock.sleep(POLL_S)

    at_guest(env, name, detach)


def guest_sources(env: Env, name: VmName) -> list[str] | None:
    """Name the sources of the disks that a running guest has now; None for a VM that doesn't run."""
    node = node_of(env, name)
    return None if node is None else env.hypervisor_at(node).disk_sources(name)

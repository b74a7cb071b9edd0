"""Hold a running guest still, so that all of its disks show one instant."""

from collections.abc import Iterator
from contextlib import contextmanager

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.mark import Mark
from vm_mgr.model.storage import Consistency
from vm_mgr.model.vm import VmName
from vm_mgr.ports.env import Env
from vm_mgr.ports.hypervisor import PAUSED_BY_USER, Hypervisor

__all__ = ["node_of", "pauses", "release", "still"]

LOOK_S = 10.0


@contextmanager
def still(env: Env, name: VmName) -> Iterator[Consistency]:
    """Freeze the guest's file systems if it has an agent, else pause it if it has several disks.

    One disk alone always shows one instant. The guest goes on when the context is left, whatever happens,
    unless its user had paused it. Raises WRONG_STATE where somebody else lets it go on meanwhile, or where it
    stands for another reason, like an I/O error, which the agent tries to end; EXTERNAL_FAILURE where a
    frozen guest does not thaw.
    """
    node = node_of(env, name)
    if node is None:
        saved = env.storage.saved_state(name)
        yield Consistency.OFFLINE if saved is None else Consistency.CRASH
        return
    hypervisor = env.hypervisor_at(node)
    if hypervisor.freeze(name):
        try:
            yield Consistency.FROZEN
        finally:
            _thaw(hypervisor, name, node)
    elif len(env.storage.images(name)) > 1:
        stood = hypervisor.paused(name, timeout_s=LOOK_S)
        if stood not in ("", PAUSED_BY_USER):
            hint = f"let it go on first: vm-mgr resume {name}"
            raise VmMgrError(Kind.WRONG_STATE, f"{name} is paused: {stood}", hint=hint)
        if not stood:
            hypervisor.pause(name)
        try:
            yield Consistency.CRASH
            _require_paused(hypervisor, name)
        finally:
            if not stood:
                hypervisor.resume(name)
    else:
        yield Consistency.CRASH


def pauses(env: Env, name: VmName) -> str:
    """Tell a mark whether `still` will have to pause the guest: a guest that stands already stays so."""
    node = node_of(env, name)
    if node is None or len(env.storage.images(name)) < 2:
        return ""
    return "" if env.hypervisor_at(node).paused(name, timeout_s=LOOK_S) else "yes"


def release(env: Env, name: VmName, mark: Mark) -> None:
    """Let a guest go on that the operation of this mark may have held; one that goes on is fine."""
    node = node_of(env, name)
    if node is not None:
        hypervisor = env.hypervisor_at(node)
        hypervisor.thaw(name)
        if mark.details.get("pauses", "yes"):
            hypervisor.resume(name)


def _thaw(hypervisor: Hypervisor, name: VmName, node: NodeName) -> None:
    """Ask twice: nothing can be written in the guest until its agent answers."""
    if not hypervisor.thaw(name) and not hypervisor.thaw(name):
        message = f"the file systems of {name} are frozen: its agent no longer answers"
        hint = f"on {node}: virsh domfsthaw {name}; if that fails: vm-mgr restart {name}"
        raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=hint)


def _require_paused(hypervisor: Hypervisor, name: VmName) -> None:
    """The agent lets a guest go on that it has to stop, and users have virsh."""
    if not hypervisor.paused(name, timeout_s=LOOK_S):
        message = f"{name} went on while its disks were being caught at one instant"
        raise VmMgrError(Kind.WRONG_STATE, message, hint="run the command again")


def node_of(env: Env, name: VmName) -> NodeName | None:
    """Name the node where a VM runs now."""
    resource = env.cluster.state().resources.get(name)
    return resource.nodes[0] if resource is not None and resource.active and resource.nodes else None

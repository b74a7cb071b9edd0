"""Hold a running guest still, so that all of its disks show one instant."""

from collections.abc import Iterator
from contextlib import contextmanager

from vm_mgr.model.cluster import NodeName
from vm_mgr.model.storage import Consistency
from vm_mgr.model.vm import VmName
from vm_mgr.ports.env import Env

__all__ = ["release", "still"]


@contextmanager
def still(env: Env, name: VmName) -> Iterator[Consistency]:
    """Freeze the guest's file systems if it has an agent, else pause it if it has several disks.

    One disk alone always shows one instant. The guest goes on when the context is left, whatever happens.
    """
    node = _node(env, name)
    if node is None:
        yield Consistency.OFFLINE
        return
    hypervisor = env.hypervisor_at(node)
    if hypervisor.freeze(name):
        try:
            yield Consistency.FROZEN
        finally:
            hypervisor.thaw(name)
    elif len(env.storage.images(name)) > 1:
        hypervisor.pause(name)
        try:
            yield Consistency.CRASH
        finally:
            hypervisor.resume(name)
    else:
        yield Consistency.CRASH


def release(env: Env, name: VmName) -> None:
    """Let a guest go on that a killed operation may have held; one that goes on is fine."""
    node = _node(env, name)
    if node is not None:
        hypervisor = env.hypervisor_at(node)
        hypervisor.thaw(name)
        hypervisor.resume(name)


def _node(env: Env, name: VmName) -> NodeName | None:
    resource = env.cluster.state().resources.get(name)
    return resource.nodes[0] if resource is not None and resource.active and resource.nodes else None

"""Start and stop a VM on behalf of Pacemaker.

Whether a VM runs is decided by its process alone; libvirt is asked to act, and believed only where the
process agrees.
"""

from collections.abc import Callable

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName
from vm_mgr.ocf.moving import migrate_from, migrate_to, wait_gone
from vm_mgr.ocf.parameters import Parameters
from vm_mgr.ocf.unplug_times import remember, reserve_s
from vm_mgr.operations.interlock import free_disks, gone_nodes
from vm_mgr.wiring import RealEnv

__all__ = ["ACTIONS"]

CALL_S = 5.0
PRESS_S = 3.0


def start(env: RealEnv, given: Parameters) -> None:
    """Start from the definition in the storage, after proving that nobody else has the disks open."""
    name = given.name
    deadline = env.clock.monotonic() + given.budget_s
    if env.processes.find_vm(name) is not None:
        return
    rival = env.hypervisor.acts_alone(name)
    if rival:
        message = f"{name} is not started on a node where something else starts or stops VMs: {rival}"
        raise VmMgrError(Kind.WRONG_STATE, message)
    gone = gone_nodes(env)  # before Ceph is asked, which may have to wait while a fenced node reboots
    storage = env.storages.called(given.storage or env.storages.of(name))
    xml = storage.definition(name)
    images = env.definitions.rbd_images(xml, env.pool) or storage.images(name)
    free_disks(
        env, storage, name, images, gone=gone, limit_s=max(deadline - env.clock.monotonic() - CALL_S, 0)
    )
    remaining = max(deadline - env.clock.monotonic(), CALL_S)
    try:
        env.hypervisor.create(xml, name, timeout_s=remaining)
    except VmMgrError:
        if env.processes.find_vm(name) is not None:
            _unplug(env, name, env.clock.monotonic() + CALL_S)
        raise
    if env.processes.find_vm(name) is None:
        raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{name} ended right after its start")


def stop(env: RealEnv, given: Parameters) -> None:
    """Shut down, unplug when the time is up, kill when libvirt does not; success means that it is gone."""
    name = given.name
    if env.processes.find_vm(name) is None:
        return
    began = env.clock.monotonic()
    deadline = began + given.timeout_s - 2
    if not given.force_stop:
        _shut_down(env, name, began + given.timeout_s - reserve_s(env, given.timeout_s))
    if env.processes.find_vm(name) is not None:
        _unplug(env, name, deadline)


def _shut_down(env: RealEnv, name: VmName, deadline: float) -> None:
    """Press the power button until the VM is gone: a guest that is still booting ignores it.

    A paused one can't hear it and is let go on, unless a snapshot holds it for these seconds.
    """
    if not _attempt(lambda: env.hypervisor.shutdown(name, timeout_s=CALL_S)):
        return  # libvirt hangs: the time is better spent on unplugging
    while not wait_gone(env, name, min(deadline, env.clock.monotonic() + PRESS_S)):
        remaining = deadline - env.clock.monotonic()
        if remaining <= 0:
            return
        _attempt(lambda: _press(env, name, min(CALL_S, remaining)))  # noqa: B023 - called at once


def _press(env: RealEnv, name: VmName, timeout_s: float) -> None:
    if env.hypervisor.paused(name, timeout_s=timeout_s):
        env.hypervisor.resume(name)
    env.hypervisor.shutdown(name, timeout_s=timeout_s)


def _unplug(env: RealEnv, name: VmName, deadline: float) -> None:
    """End the process by stronger and stronger means, and remember how long it took."""
    began = env.clock.monotonic()
    _end(env, name, deadline)
    remember(env, env.clock.monotonic() - began)


def _end(env: RealEnv, name: VmName, deadline: float) -> None:
    if _attempt(lambda: env.hypervisor.destroy(name, timeout_s=CALL_S)):
        wait_gone(env, name, min(deadline, env.clock.monotonic() + 2))
    for force in (False, True):
        pid = env.processes.find_vm(name)
        if pid is None:
            return
        env.processes.end(pid, force=force)
        if wait_gone(env, name, deadline if force else min(deadline, env.clock.monotonic() + 1)):
            return
    raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{name} can't be stopped, not even by SIGKILL")


def _attempt(action: Callable[[], None]) -> bool:
    try:
        action()
    except VmMgrError:
        return False
    return True


ACTIONS: dict[str, Callable[[RealEnv, Parameters], None]] = {
    "start": start,
    "stop": stop,
    "migrate_to": migrate_to,
    "migrate_from": migrate_from,
}

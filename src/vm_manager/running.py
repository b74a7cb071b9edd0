"""List, look at, start, stop, enable, disable and remove VMs."""

import os
import sys

from vm_manager.environment import log, working
from vm_manager.exceptions import VmManagerException
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName, VmState
from vm_mgr.operations import console as operations_console
from vm_mgr.operations import disable, enable
from vm_mgr.operations import list_vms as operations_list
from vm_mgr.operations import remove as operations_remove
from vm_mgr.operations import start as operations_start
from vm_mgr.operations import status as operations_status
from vm_mgr.operations import stop as operations_stop
from vm_mgr.ports.env import Env

__all__ = [
    "console",
    "disable_vm",
    "enable_vm",
    "is_enabled",
    "list_all_uuids",
    "list_vms",
    "remove",
    "start",
    "status",
    "stop",
]

OUTSIDE = (VmState.UNDEFINED, VmState.DISABLED)
# How SEAPATH's present release calls a VM that somebody has stopped. For programs that know an older one, set
# the variable to "Stopped".
STOPPED, STOPPED_VARIABLE = "Stopped (disabled)", "VM_MANAGER_STOPPED"


def list_vms(enabled: bool = False) -> list[str]:  # noqa: FBT001, FBT002 - SEAPATH's signature
    """Name all VMs, or those that the cluster has, sorted."""
    with working() as env:
        found = [str(vm.name) for vm in operations_list.list_vms(env) if vm.state is not VmState.UNDEFINED]
        present = env.cluster.state().resources if enabled else found
    return [name for name in found if name in present]


def list_all_uuids() -> dict[str, str]:
    """Give the names of all VMs that have a UUID in their definition, by that UUID."""
    found = {}
    with working() as env:
        for name in env.storage.definitions.names():
            try:
                uuid = env.definitions.uuid(env.storage.definitions.read(name))
            except VmMgrError as error:
                log.warning("the UUID of %s can't be read: %s", name, error)
                continue
            if uuid:
                found[uuid] = str(name)
    return found


def status(vm_name: str) -> str:
    """Give one of Undefined, Disabled, Stopped, Starting, Started, Stopping, Paused and FAILED.

    A VM that somebody has stopped is "Stopped (disabled)", or what the variable VM_MANAGER_STOPPED says.
    """
    with working() as env:
        seen = operations_status.status(env, VmName(vm_name))
    if seen.state is VmState.STOPPED and not seen.detail:  # which says what else keeps it
        return os.environ.get(STOPPED_VARIABLE, STOPPED)
    return "FAILED" if seen.state is VmState.FAILED else seen.state.value


def is_enabled(vm_name: str) -> bool:
    """Tell whether the cluster has the VM."""
    with working() as env:
        return _has(env, VmName(vm_name))


def start(vm_name: str) -> None:
    """Start an enabled VM and wait until it runs; one that runs is fine."""
    with working() as env:
        _require_enabled(env, VmName(vm_name))
        operations_start.start(env, VmName(vm_name))


def stop(vm_name: str, force: bool = False) -> None:  # noqa: FBT001, FBT002
    """Shut an enabled VM down, or unplug it by force, and wait for it; one that is stopped is fine."""
    with working() as env:
        _require_enabled(env, VmName(vm_name))
        operations_stop.stop(env, VmName(vm_name), force=force)


def enable_vm(vm_name: str, nostart: bool | None = False) -> None:  # noqa: FBT001, FBT002
    """Put a VM into the cluster and start it unless nostart; one that is there is left as it is."""
    with working() as env:
        name = VmName(vm_name)
        if not _has(env, name):
            enable.enable(env, name, start=not nostart)
        else:
            log.warning("%s is enabled already", name)


def disable_vm(vm_name: str) -> None:
    """Stop a VM and take it out of the cluster, keeping its disks; one that is not there is fine."""
    with working() as env:
        name = VmName(vm_name)
        if operations_status.status(env, name).state in OUTSIDE:  # not known without quorum: it is refused
            log.warning("%s is not enabled", name)
        else:
            disable.disable(env, name)


def remove(vm_name: str) -> None:
    """Stop a VM and delete it with its disks; one that does not exist is fine."""
    with working() as env:
        try:
            operations_remove.remove(env, VmName(vm_name))
        except VmMgrError as error:
            if error.kind is not Kind.NOT_FOUND:
                raise
            log.warning("%s", error.message)


def console(vm_name: str, ssh_user: str = "") -> None:
    """Turn this program into the VM's serial console; ssh_user is who logs in where another node runs it.

    The program ends with status 1 where the VM does not run.
    """
    try:
        with working() as env:
            operations_console.console(env, VmName(vm_name), user=ssh_user)
    except VmManagerException as error:
        sys.exit(str(error))


def _has(env: Env, name: VmName) -> bool:
    """Tell whether the cluster's configuration has it, as far as this node knows."""
    resource = env.cluster.state().resources.get(name)
    return resource is not None and resource.is_vm


def _require_enabled(env: Env, name: VmName) -> None:
    state = operations_status.status(env, name).state
    if state is VmState.UNDEFINED:
        raise VmMgrError(Kind.NOT_FOUND, f"VM {name} is not on the cluster", hint="see the VMs: vm-mgr list")
    if state is VmState.DISABLED:
        hint = f"enable it: vm-mgr enable {name}"
        raise VmMgrError(Kind.WRONG_STATE, f"VM {name} is not on the cluster", hint=hint)

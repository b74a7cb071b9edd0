"""See to it that a VM runs at most once after a live migration that did not end well.

A source may go on only when the target can't write: its libvirt knows no such domain, or it stood there and
was ended first, or its clients of the VM's disks are blocklisted in the storage (docs/design/0016).
"""

from contextlib import suppress
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import ClusterState, NodeName
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.vm import VmName
from vm_mgr.operations.storage.disk_interlock import holder_node
from vm_mgr.ports.env import Env
from vm_mgr.ports.hypervisor import Hypervisor

__all__ = ["ABSENT", "Others", "destroy_second", "end_half", "end_halves"]

LOOK_S = 10.0
ABSENT = ("absent", "shut off")


class Others(NamedTuple):
    """What other nodes have of a VM: where it runs, and in words where that can't be known."""

    runs: tuple[NodeName, ...] = ()
    unsure: tuple[str, ...] = ()


def end_halves(env: Env, name: VmName, here: NodeName, *, shuts_out: bool = True) -> Others:
    """End what stands of it on all nodes but this one, and blocklist those that don't answer, if asked to."""
    runs, unsure, state = [], [], env.cluster.state()
    for node in state.nodes:
        if node.name == here or node.observer or _is_off(state, node.name):
            continue
        if not node.online:
            unsure.append(f"{node.name} is lost, and not yet fenced")
            continue
        try:
            if not end_half(env.hypervisor_at(node.name), name):
                runs.append(node.name)
        except VmMgrError as error:
            if not (shuts_out and _blocklist(env, name, node.name, here)):
                unsure.append(f"the libvirt of {node.name} does not answer ({error.message})")
    return Others(tuple(runs), tuple(unsure))


def end_half(hypervisor: Hypervisor, name: VmName) -> bool:
    """End a domain that is but a half of a migration; False for one that runs, or stands for another reason.

    Raises EXTERNAL_FAILURE where that is not known, or it does not end.
    """
    if hypervisor.domain_state(name, timeout_s=LOOK_S) in ABSENT:
        return True
    if not hypervisor.paused(name, timeout_s=LOOK_S).is_half:
        return False
    hypervisor.destroy(name, timeout_s=LOOK_S)
    if hypervisor.domain_state(name, timeout_s=LOOK_S) not in ABSENT:
        raise VmMgrError(Kind.EXTERNAL_FAILURE, f"a half of {name} does not end")
    return True


def destroy_second(env: Env, name: VmName, nodes: tuple[NodeName, ...]) -> None:
    """End QEMUs of a VM that also runs where the cluster has it, and raise the alarm; both may have written.

    Raises EXTERNAL_FAILURE where one goes on.
    """
    for node in nodes:
        text = f"it also runs on {node}: that one is powered off; check its file systems"
        env.journal.record(Event(env.clock.utc(), EventKind.SECOND, name, detail=text))
        with suppress(VmMgrError):  # it is ended all the same
            env.cluster.alarm(name, node, on=True)
    for node in nodes:
        env.hypervisor_at(node).destroy(name, timeout_s=LOOK_S)


def _is_off(state: ClusterState, name: NodeName) -> bool:
    """Tell a node that is fenced, or has left in good order; without fencing that proves nothing."""
    node = state.node(name)
    return node is not None and node.gone and state.quorate and state.fencing_enabled


def _blocklist(env: Env, name: VmName, node: NodeName, here: NodeName) -> bool:
    """Shut a node's clients out of the VM's disks; False where the storage does not tell clients by address.

    It does where this node's own client is seen, whose QEMU has the disks open.
    """
    try:
        holders = env.storage.clients.of(env.storage.clients.images(name))
        if not any(holder_node(env, one) == here for one in holders):
            return False
        for one in holders:
            if holder_node(env, one) == node:
                env.storage.clients.evict(one)
    except VmMgrError:
        return False
    return True

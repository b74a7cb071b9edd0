"""Look after QEMUs that the agent does not know of on this node.

The node's own agent (ocf/Node) reports what libvirt runs here under the name of a VM, while no action of the
VM's agent has started it or taken it over.
"""

from contextlib import suppress

from vm_mgr.agent import state_files
from vm_mgr.model.cluster import ClusterState, NodeName
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.vm import VmName
from vm_mgr.operations.migration.halves import destroy_second, end_half
from vm_mgr.ports.node_env import NodeEnv

__all__ = ["end_second"]

# What is seen once may be about to arrive, or to be known.
CONFIRMED_S = 5.0


def end_second(env: NodeEnv, found: dict[VmName, int]) -> bool:
    """End those that run beside the cluster's own; tells whether something is wrong with any of them.

    Raises what keeps the cluster from being asked.
    """
    state, here = env.cluster.state(), env.cluster.local_node()
    strange = [name for name in found if _is_vm(state, name) and not _is_known(state, here, name)]
    for name in strange:
        if (
            _is_second(state, name)
            and _is_confirmed(env, name, found[name])
            and not env.hypervisor.receives(name)
        ):
            _end(env, state, name)
    return bool(strange)


def _is_vm(state: ClusterState, name: VmName) -> bool:
    resource = state.resources.get(name)
    return resource is not None and resource.is_vm and resource.managed


def _is_known(state: ClusterState, here: NodeName, name: VmName) -> bool:
    return here in state.resources[name].nodes


def _is_second(state: ClusterState, name: VmName) -> bool:
    """Tell whether the cluster rests: nobody is about to start or move it, or waits for the end of a move."""
    resource = state.resources[name]
    return state.quorate and not resource.in_transition and not resource.blocked_on


def _is_confirmed(env: NodeEnv, name: VmName, pid: int) -> bool:
    now = env.clock.monotonic()
    with suppress(ValueError):
        seen, since = state_files.read(env, "second", name).split()
        if int(seen) == pid:
            return now - float(since) >= CONFIRMED_S
    with suppress(OSError):
        state_files.write(env, "second", name, f"{pid} {now}\n")
    return False


def _end(env: NodeEnv, state: ClusterState, name: VmName) -> None:
    """End a half of a migration, power off a second QEMU, have one that is alone found."""
    if end_half(env.hypervisor, name):
        text = "what a live migration had left of it here was ended"
        env.journal.record(Event(env.clock.utc(), EventKind.STOPPED, name, detail=text))
    elif state.resources[name].active:
        destroy_second(env, name, (env.cluster.local_node(),))
    else:
        env.cluster.reprobe(name)

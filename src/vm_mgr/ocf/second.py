"""Look after QEMUs that the agent does not know of here: python3 -m vm_mgr.ocf.second NAME=PID….

The node's own agent (ocf/Node) calls for what libvirt runs here under the name of a VM, and no action of the
VM's agent has started or taken over. Ends with 3 where nothing is wrong with any of them.
"""

import sys
from contextlib import suppress

from vm_mgr import private
from vm_mgr.errors import VmMgrError
from vm_mgr.model.cluster import ClusterState, NodeName
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.vm import VmName
from vm_mgr.ocf import identity
from vm_mgr.operations.migration.halves import destroy_second, end_half
from vm_mgr.wiring import RealEnv

__all__ = ["FOREIGN", "main"]

FOREIGN = 3
# What is seen once may be about to arrive, or to be known.
CONFIRMED_S = 5.0


def main(env: RealEnv, found: dict[VmName, int]) -> int:
    """Look at each; raises what keeps the cluster from being asked."""
    state, here = env.cluster.state(), env.cluster.local_node()
    strange = [name for name in found if _is_vm(state, name) and not _is_known(state, here, name)]
    for name in strange:
        if (
            _is_second(state, name)
            and _is_confirmed(env, name, found[name])
            and not env.hypervisor.receives(name)
        ):
            _end(env, state, name)
    return 0 if strange else FOREIGN


def _is_vm(state: ClusterState, name: VmName) -> bool:
    resource = state.resources.get(name)
    return resource is not None and resource.is_vm and resource.managed


def _is_known(state: ClusterState, here: NodeName, name: VmName) -> bool:
    return here in state.resources[name].nodes


def _is_second(state: ClusterState, name: VmName) -> bool:
    """Tell whether the cluster rests: nobody is about to start or move it, or waits for the end of a move."""
    resource = state.resources[name]
    return state.quorate and not resource.in_transition and not resource.blocked_on


def _is_confirmed(env: RealEnv, name: VmName, pid: int) -> bool:
    file, now = identity.path(env, "second", name), env.clock.monotonic()
    with suppress(OSError, ValueError):
        seen, since = file.read_text(encoding="utf-8").split()
        if int(seen) == pid:
            return now - float(since) >= CONFIRMED_S
    with suppress(OSError):
        private.write(file, f"{pid} {now}\n")
    return False


def _end(env: RealEnv, state: ClusterState, name: VmName) -> None:
    """End a half of a migration, unplug one that runs beside the cluster's, have one that is alone found."""
    if end_half(env.hypervisor, name):
        text = "what a live migration had left of it here was ended"
        env.journal.record(Event(env.clock.utc(), EventKind.STOPPED, name, detail=text))
    elif state.resources[name].active:
        destroy_second(env, name, (env.cluster.local_node(),))
    else:
        env.cluster.reprobe(name)


if __name__ == "__main__":
    words = [word.rpartition("=") for word in sys.argv[1:]]
    try:
        sys.exit(main(RealEnv(), {VmName(name): int(pid) for name, _, pid in words if pid.isdecimal()}))
    except VmMgrError as error:
        print(f"vm-mgr: {error}", file=sys.stderr)
        sys.exit(1)

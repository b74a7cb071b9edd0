"""Stop a guest's processors, and let them go on."""

from contextlib import suppress

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.pause import PauseReason
from vm_mgr.model.vm import VmName, VmStatus
from vm_mgr.operations.support.locking import asked, locked_if_reachable
from vm_mgr.operations.support.preconditions import quorum_problems, running_node
from vm_mgr.operations.support.vm_state import derive_status
from vm_mgr.ports.env import Env
from vm_mgr.ports.hypervisor import half_error

__all__ = ["pause", "resume"]

LOOK_S = 10.0
# A disk that still fails stops the guest again at its first write.
RELAPSE_S = 1.0


def pause(env: Env, name: VmName) -> VmStatus:
    """Stop the guest's processors on the node where it runs; to the cluster the VM goes on."""
    with locked_if_reachable(env, name):
        state = env.cluster.state()
        raise_all(quorum_problems(state))
        node = running_node(env, state, name)
        hypervisor = env.hypervisor_at(node)
        stands = hypervisor.paused(name, timeout_s=LOOK_S)
        if not stands.is_wanted:
            # libvirt would keep that reason, and the agent lets a guest go on after an I/O error.
            hint = f"mend the cause and resume it first: vm-mgr resume {name}"
            raise VmMgrError(Kind.WRONG_STATE, f"{name} is already paused: {stands}", hint=hint)
        asked(env, name, "pause")
        with suppress(VmMgrError):  # left by a killed command: it would let the guest go on
            env.holds_at(node).end(name)
        hypervisor.pause(name)
    return derive_status(state.resources[name], state)._replace(detail="paused")


def resume(env: Env, name: VmName) -> VmStatus:
    """Let the guest go on, whatever made it stand; one that runs is fine."""
    with locked_if_reachable(env, name):
        state = env.cluster.state()
        raise_all(quorum_problems(state))
        hypervisor = env.hypervisor_at(running_node(env, state, name))
        was = hypervisor.paused(name, timeout_s=LOOK_S)
        if was.is_half:
            raise half_error(name, was)
        asked(env, name, "resume")
        hypervisor.resume(name)
        if was and was is not PauseReason.USER:
            env.clock.sleep(RELAPSE_S)
            again = hypervisor.paused(name, timeout_s=LOOK_S)
            if again:
                hint = f"mend its cause (is the storage full, or out of reach?), then: vm-mgr resume {name}"
                raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{name} is paused again: {again}", hint=hint)
    return derive_status(state.resources[name], state)

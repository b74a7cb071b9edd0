"""Tell from the cluster's state whether a VM that is to stop is being moved.

Pacemaker's agent is told to stop a VM, not why. Only what proves a move counts as one: whatever else it may
be, an operator's wish, a recovery, a restart for a changed parameter, is an ordinary stop.
"""

from vm_mgr.model.cluster import ClusterState, NodeName
from vm_mgr.model.vm import VmName
from vm_mgr.ports.cluster import Configured
from vm_mgr.ports.env import Env

__all__ = ["move_reason", "reason_to_move"]


def reason_to_move(env: Env, name: VmName) -> str:
    """Say what moves a VM away from this node; empty where nothing proves that it is moved."""
    return move_reason(env.cluster.state(), env.cluster.configured(name), name, env.cluster.local_node())


def move_reason(state: ClusterState, configured: Configured, name: VmName, here: NodeName) -> str:
    """Look for what is to run, is well, has somewhere to go, and is sent away from here."""
    resource, vm, node = state.resources.get(name), configured.vm, state.node(here)
    if resource is None or vm is None or node is None or not state.quorate:
        return ""
    others = [one.name for one in state.nodes if one.can_host and one.name != here]
    wanted = vm.pinned_host or vm.preferred_host
    unwanted = "Stopped" in (vm.target_role.value, resource.target_role)  # an operator's wish
    broken = resource.failed or resource.blocked or not resource.managed  # a recovery
    if unwanted or broken or not others or vm.pinned_host == here:
        return ""
    signs = {
        f"{here} is being shut down": node.shutting_down,
        f"{here} is in standby": node.standby,
        "a move was asked for": any(one.leftover for one in configured.others),
        f"it is to run on {wanted}": wanted in others,
    }
    return next((reason for reason, holds in signs.items() if holds), "")

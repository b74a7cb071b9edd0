"""Tell from the cluster's state whether a VM that is to stop is being moved.

Pacemaker's agent is told to stop a VM, not why. Only what proves a move counts as one: whatever else it may
be, an operator's wish, a recovery, a restart for a changed parameter, is an ordinary stop.
"""

from vm_mgr.model.cluster import ClusterState, NodeName
from vm_mgr.model.vm import TargetRole, VmName
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
    if TargetRole.STOPPED in (vm.target_role, resource.target_role) or resource.target_role == "Stopped":
        return ""  # an operator's wish
    if resource.failed or resource.blocked or not resource.managed:
        return ""  # a recovery
    others = [one.name for one in state.nodes if one.can_host and one.name != here]
    if not others or vm.pinned_host == here:
        return ""  # it would stay down
    if node.leaving:
        return f"{here} is being shut down"
    if node.standby:
        return f"{here} is in standby"
    if any(one.leftover for one in configured.others):
        return "a move was asked for"
    wanted = vm.pinned_host or vm.preferred_host
    return f"it is to run on {wanted}" if wanted in others else ""

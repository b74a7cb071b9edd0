"""Say which nodes wait for their fencing, and which fence devices would not work for the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.errors import VmMgrError
from vm_mgr.model.cluster import left_unfenced
from vm_mgr.reports import Level, Note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vm_mgr.model.cluster import ClusterState
    from vm_mgr.model.timings import FenceDevice
    from vm_mgr.ports.env import Env

__all__ = ["warn_of_lost_nodes", "warn_of_silent_devices"]


def warn_of_lost_nodes(env: Env, state: ClusterState) -> None:
    """Name each node whose fencing has not ended, and what a person can do."""
    for node in state.nodes:
        if node.unclean:
            text = f"{node.name} is lost and not yet fenced: until it is, the cluster recovers nothing"
            hint = f"see: crm_mon -1; only if you know that it is off: stonith_admin --confirm {node.name}"
            env.say(Note(Level.WARNING, "node-lost", text, hint))


def warn_of_silent_devices(env: Env, state: ClusterState, node: str = "") -> None:
    """Name each, and the nodes that no other device fences; node: only what may fence this one."""
    if not state.silent_devices or not state.fencing_enabled or state.stop_all:
        return
    targets = {one.name: one.targets for one in _configured(env)}
    for name, known, alone in left_unfenced(targets, state.silent_devices):
        if node and known and node not in known:
            continue
        text = f"fence device {name} has failed or is stopped: {_outlook(known, alone)}"
        hint = f"see: crm_mon -1; when it is mended: crm_resource --cleanup --resource {name}"
        env.say(Note(Level.WARNING, "fence-device-silent", text, hint))


def _configured(env: Env) -> tuple[FenceDevice, ...]:
    try:
        return env.timings.cluster().devices
    except VmMgrError:
        return ()


def _outlook(targets: Sequence[str], alone: Sequence[str]) -> str:
    if targets and not alone:
        return f"only other devices can still fence {', '.join(targets)}"
    return f"a lost {' or '.join(alone) or 'node'} may stay unfenced, and its VMs down"

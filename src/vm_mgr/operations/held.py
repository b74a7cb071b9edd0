"""Let the cluster act on a VM that a failed live migration holds (docs/design/0010-clean-abort.md)."""

from vm_mgr.model.cluster import Resource
from vm_mgr.model.vm import VmName
from vm_mgr.ports.env import Env
from vm_mgr.reports import Progress

__all__ = ["let_go"]

POLL_S = 0.25
SETTLE_S = 30.0


def let_go(env: Env, resource: Resource) -> None:
    """Have every node looked at, and wait until the cluster knows again where the VM runs.

    Until then it takes the VM for one that is stopped: who asks it to stop in between would believe that. And
    it would let a node go that is being shut down, whose own timer sees to the VM (operations/lift.py).
    """
    if not resource.held_on:
        return
    held_on = env.cluster.state().node(resource.held_on)
    if held_on is None or held_on.leaving:
        return
    env.cluster.look_again(VmName(resource.name))
    deadline = env.clock.monotonic() + SETTLE_S
    while env.clock.monotonic() < deadline:
        seen = env.cluster.state().resources.get(resource.name)
        if seen is None or (seen.active and not seen.held_on and not seen.pending):
            return
        env.say(Progress(f"looking where {resource.name} runs"))
        env.clock.sleep(POLL_S)

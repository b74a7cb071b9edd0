"""Remove the constraints that moves left at a VM."""

from collections.abc import Sequence

from vm_mgr.errors import raise_all
from vm_mgr.model.vm import VmName
from vm_mgr.operations.alone import alone_if_reachable
from vm_mgr.operations.checks import quorum_problems, resource_of
from vm_mgr.ports.cluster import Constraint
from vm_mgr.ports.env import Env

__all__ = ["unmigrate"]


def unmigrate(env: Env, name: VmName) -> Sequence[Constraint]:
    """Remove those of every tool, keep all others, and give what was removed."""
    with alone_if_reachable(env, name):
        state = env.cluster.state()
        raise_all(quorum_problems(state))
        resource_of(env, state, name)
        return env.cluster.clear_moves(name)

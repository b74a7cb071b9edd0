"""Move a running VM to another node."""

from collections.abc import Collection

from vm_mgr.errors import raise_all
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.vm import VmName, VmStatus
from vm_mgr.operations.migration.options import AS_SET, MigrateOptions, Target
from vm_mgr.operations.migration.run import Migration
from vm_mgr.operations.support.preconditions import host_problems, quorum_problems
from vm_mgr.ports.env import Env

__all__ = ["migrate"]


def migrate(
    env: Env,
    name: VmName,
    to: NodeName | None = None,
    terms: MigrateOptions = AS_SET,
    *,
    restart_others: bool = False,
    allow_stop: bool = True,
    allow: Collection[str] = (),
) -> VmStatus:
    """Constrain the VM for the time of the move, wait until it runs there, leave no constraint behind.

    restart_others: also where the cluster's rules have other VMs moved, or restarted, for it.
    allow_stop: also where it can only be stopped and started.
    allow: what is else refused: IMMOVABLE of migration/options.py.

    A live migration that fails leaves the VM where it runs; then its failure is cleared too, and
    EXTERNAL_FAILURE says why (docs/design/0010-clean-abort.md).
    """
    if to is not None:  # who has mistyped a name is not to wait for an earlier move, or another command
        state = env.cluster.state()
        raise_all(quorum_problems(state) + host_problems(state, to))
    goal = Target(to, allow_restart=restart_others, allow_moves=restart_others, allow_stop=allow_stop)
    return Migration(env, name, goal._replace(allow=allow), terms).run().status

"""Let the cluster act on a VM whose migration failed: python3 -m vm_mgr.ocf.unblock NAME, by a timer."""

import sys

from vm_mgr.agent.unblock import unblock_or_retry
from vm_mgr.errors import VmMgrError
from vm_mgr.model.vm import VmName
from vm_mgr.ports.node_env import NodeEnv
from vm_mgr.wiring import RealEnv

__all__ = ["main"]

# What Ceph may take to say whether a command is at work.
CEPH_S = 30.0


def main(env: NodeEnv, name: VmName) -> int:
    """Give the exit status."""
    try:
        unblock_or_retry(env, name)
    except (VmMgrError, OSError) as error:
        print(f"vm-mgr: {name} may still be blocked by its failed migration: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(RealEnv(storage_patience_s=CEPH_S), VmName(sys.argv[1])))

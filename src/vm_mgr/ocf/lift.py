"""Let the cluster act again on a VM whose migration failed: python3 -m vm_mgr.ocf.lift NAME, by a timer."""

import sys

from vm_mgr.errors import VmMgrError
from vm_mgr.model.vm import VmName
from vm_mgr.ocf import tries
from vm_mgr.operations.lift import lift
from vm_mgr.wiring import RealEnv

__all__ = ["main"]

# What Ceph may take to say whether a command is at work.
CEPH_S = 30.0


def main(env: RealEnv, name: VmName) -> int:
    """Do it, or set the next timer; that one comes first: this process may be killed at any point."""
    number = max(tries.count(env, name), 1)
    try:
        timer = env.timers.set_lift(name, tries.pause_s(number))
        if lift(env, name):
            env.timers.cancel(timer)
    except (VmMgrError, OSError) as error:
        print(f"vm-mgr: {name} may still be held by its failed migration: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(RealEnv(storage_patience_s=CEPH_S), VmName(sys.argv[1])))

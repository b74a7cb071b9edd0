"""Look after QEMUs that the agent does not know of here: python3 -m vm_mgr.ocf.second NAME=PID….

Ends with 3 where nothing is wrong with any of them.
"""

import sys

from vm_mgr.agent.second import end_second
from vm_mgr.errors import VmMgrError
from vm_mgr.model.vm import VmName
from vm_mgr.ports.node_env import NodeEnv
from vm_mgr.wiring import RealEnv

__all__ = ["FOREIGN", "main"]

FOREIGN = 3


def main(env: NodeEnv, found: dict[VmName, int]) -> int:
    """Give the exit status; raises what keeps the cluster from being asked."""
    return 0 if end_second(env, found) else FOREIGN


if __name__ == "__main__":
    words = [word.rpartition("=") for word in sys.argv[1:]]
    try:
        sys.exit(main(RealEnv(), {VmName(name): int(pid) for name, _, pid in words if pid.isdecimal()}))
    except VmMgrError as error:
        print(f"vm-mgr: {error}", file=sys.stderr)
        sys.exit(1)

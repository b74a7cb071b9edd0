"""Be libvirt's hook; its exit status refuses a start: python3 -m vm_mgr.ocf.guard NAME OPERATION …"""

import sys

from vm_mgr.agent.libvirt_hook import CEPH_S, check_start
from vm_mgr.errors import VmMgrError
from vm_mgr.ports.node_env import NodeEnv
from vm_mgr.wiring import RealEnv

__all__ = ["main"]


def main(env: NodeEnv, arguments: list[str], xml: str) -> int:
    """Give the hook's exit status; one line on stderr says why a start is refused."""
    try:
        check_start(env, arguments, xml)
    except (VmMgrError, OSError) as error:
        print(f"vm-mgr: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(RealEnv(storage_patience_s=CEPH_S), sys.argv[1:], sys.stdin.read()))

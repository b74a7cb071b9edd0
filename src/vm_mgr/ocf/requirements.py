"""Tell what this node has of what VMs require: python3 -m vm_mgr.ocf.requirements WORD….

Prints WORD=ANSWER, a line for each of which it can tell. The agent ocf:vm-mgr:Node publishes them.
"""

import os
import sys

from vm_mgr.agent.node_verbs import has
from vm_mgr.errors import VmMgrError
from vm_mgr.wiring import RealEnv

__all__: list[str] = []

if __name__ == "__main__":
    status = 0
    try:
        print(has(RealEnv(), sys.argv[1:]).replace(" ", "\n"), flush=True)
    except VmMgrError as error:
        print(f"vm-mgr: {error}", file=sys.stderr)
        status = 1
    os._exit(status)  # a look at a file system that hangs would keep this from ending

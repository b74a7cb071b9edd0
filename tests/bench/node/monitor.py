"""Call resource agents' monitor in turns; tell the CPU seconds that each call took, with its children.

What a daemon does for a call (libvirt's for VirtualDomain) is not in it. Arguments: calls, then a JSON object
of agents: provider/type and its parameters.
"""

import json
import os
import resource
import subprocess
import sys

calls, agents = int(sys.argv[1]), json.loads(sys.argv[2])
times = {agent: [] for agent in agents}


def used():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


for turn in range(calls + 1):
    for agent, parameters in agents.items():
        environment = os.environ | {
            "OCF_ROOT": "/usr/lib/ocf",
            "OCF_RA_VERSION_MAJOR": "1",
            "OCF_RA_VERSION_MINOR": "1",
            "OCF_RESOURCE_INSTANCE": "bench",
            "OCF_RESOURCE_TYPE": "VirtualDomain",
            "OCF_RESKEY_CRM_meta_interval": "10000",
            "OCF_RESKEY_CRM_meta_timeout": "60000",
            **{f"OCF_RESKEY_{name}": value for name, value in parameters.items()},
        }
        before = used()
        argv = [f"/usr/lib/ocf/resource.d/{agent}", "monitor"]
        subprocess.run(
            argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
        )
        if turn:
            times[agent].append(used() - before)
print(json.dumps(times))

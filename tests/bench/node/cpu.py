"""Tell the CPU time in seconds that services of this node use within some seconds: SECONDS SERVICE ..."""

import json
import sys
import time
from pathlib import Path


def used(service):
    stat = Path(f"/sys/fs/cgroup/system.slice/{service}.service/cpu.stat")
    return int(stat.read_text().split()[1]) / 1e6 if stat.exists() else 0.0


seconds, services = float(sys.argv[1]), sys.argv[2:]
before = {service: used(service) for service in services}
time.sleep(seconds)
print(json.dumps({service: used(service) - before[service] for service in services}))

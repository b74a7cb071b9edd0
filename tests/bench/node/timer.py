"""Time each command as a whole process, taking turns, so that noise meets all of them alike."""

import json
import subprocess
import sys
import time

commands, runs = json.loads(sys.argv[1]), int(sys.argv[2])
times = {name: [] for name in commands}
for turn in range(runs + 1):
    for name, argv in commands.items():
        started = time.perf_counter()
        subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
        if turn:
            times[name].append(time.perf_counter() - started)
print(json.dumps(times))

"""Ping an address 20 times a second and tell the longest time without an answer in s: ADDRESS SECONDS."""

import itertools
import json
import re
import subprocess
import sys

EVERY_S = 0.05

address, seconds = sys.argv[1], float(sys.argv[2])
ping = ["ping", "-n", "-D", "-i", str(EVERY_S), "-w", str(int(seconds)), address]
told = subprocess.run(ping, stdout=subprocess.PIPE, text=True, check=False).stdout
answers = [float(time) for time in re.findall(r"^\[([0-9.]+)\] \d+ bytes", told, re.MULTILINE)]
gaps = [later - earlier for earlier, later in itertools.pairwise(answers)]
print(json.dumps({"answers": len(answers), "longest": max(gaps, default=seconds) - EVERY_S}))

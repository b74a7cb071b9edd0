"""Write the names of the VMs whose QEMU is a process of this node, whenever they change, for the lab to read.

The host's process table does not show what runs under a kernel of its own. libvirt's pid files are read, and
each process is looked at: a file may outlive its process, and a process its libvirt.
"""

import contextlib
import os
import re
import time
from pathlib import Path

TOLD = Path("/var/lib/vm-mgr-lab/running")
PERIOD_S = 0.1


def running() -> list[str]:
    """Return the VMs, sorted."""
    found = []
    for file in Path("/run/libvirt/qemu").glob("*.pid"):
        with contextlib.suppress(OSError, ValueError):
            line = Path(f"/proc/{int(file.read_text())}/cmdline").read_bytes()
            found += [name.decode() for name in re.findall(rb"guest=([^,\0]+)", line)]
    return sorted(found)


last = None
while True:
    now = running()
    if now != last:
        with TOLD.open("w") as told:
            told.write("\n".join(now))
            told.flush()
            os.fsync(told.fileno())
        last = now
    time.sleep(PERIOD_S)

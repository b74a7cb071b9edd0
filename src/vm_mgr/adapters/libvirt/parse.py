"""Read what virsh prints."""

import re

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.capacity import NodeCapacity

__all__ = ["parse_capacity"]


def parse_capacity(raw: str) -> NodeCapacity:
    """Read `virsh nodeinfo`.

    >>> parse_capacity("CPU model:   x86_64\\nCPU(s):   2\\nMemory size:         2048 KiB\\n")
    NodeCapacity(memory_bytes=2097152, cpus=2)
    """
    cpus = re.search(r"^CPU\(s\):\s+(\d+)$", raw, re.MULTILINE)
    memory = re.search(r"^Memory size:\s+(\d+) KiB$", raw, re.MULTILINE)
    if not (cpus and memory):
        raise VmMgrError(
            Kind.EXTERNAL_FAILURE, "can't read what virsh says of the node", hint="virsh nodeinfo"
        )
    return NodeCapacity(int(memory[1]) << 10, int(cpus[1]))

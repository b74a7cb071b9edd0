"""Read what virsh prints."""

import re
from collections.abc import Mapping

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.capacity import NodeCapacity

__all__ = ["free_memory", "parse_capacity"]


FREE = ("free", "buffers", "cached")


def parse_capacity(raw: str, memory_raw: str = "") -> NodeCapacity:
    """Read `virsh nodeinfo` and `virsh nodememstats`.

    >>> parse_capacity("CPU model:   x86_64\\nCPU(s):   2\\nMemory size:         2048 KiB\\n")
    NodeCapacity(memory_bytes=2097152, cpus=2, free_bytes=None)
    >>> stats = "total  :  9 KiB\\nfree   :   4 KiB\\nbuffers:   1 KiB\\ncached :   2 KiB\\n"
    >>> parse_capacity("CPU(s):   2\\nMemory size:   2048 KiB\\n", stats).free_bytes
    7168
    """
    cpus = re.search(r"^CPU\(s\):\s+(\d+)$", raw, re.MULTILINE)
    memory = re.search(r"^Memory size:\s+(\d+) KiB$", raw, re.MULTILINE)
    if not (cpus and memory):
        raise VmMgrError(
            Kind.EXTERNAL_FAILURE, "can't read what virsh says of the node", hint="virsh nodeinfo"
        )
    stats = {key: int(kib) for key, kib in re.findall(r"^(\w+) *: +(\d+) KiB$", memory_raw, re.MULTILINE)}
    return NodeCapacity(int(memory[1]) << 10, int(cpus[1]), free_memory(stats))


def free_memory(stats_kib: Mapping[str, int]) -> int | None:
    """Add up what is free or can be freed, in bytes, of libvirt's statistics of a node's memory."""
    return sum(stats_kib.get(key, 0) for key in FREE) << 10 if "free" in stats_kib else None

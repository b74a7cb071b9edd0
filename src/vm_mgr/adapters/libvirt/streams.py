"""End the connections over which a QEMU sends its guest to a target that does not answer.

In the last stage of a migration QEMU writes with its main loop. While nothing takes what it writes it hears
no monitor command: libvirt can't abort. The guest is paused until TCP gives up, which takes minutes. A write
that fails ends the migration, and the guest goes on here.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vm_mgr.errors import VmMgrError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_mgr.ports.runner import Runner

__all__ = ["end_streams", "streams"]

PROC = Path("/proc")
TIMEOUT_S = 5.0
# migration_port_min and migration_port_max of qemu.conf, as libvirt has them by default.
PORTS = range(49152, 49216)
_SOCKET = "socket:["


def end_streams(runner: Runner, pid: int, *, proc: Path = PROC) -> int:
    """Have the kernel end them; give how many there were. Where it can't, TCP's own time has to do."""
    found = list(streams(pid, proc=proc))
    for ours, theirs in found:
        ends = ("sport", "=", f":{ours}", "and", "dport", "=", f":{theirs}")
        with suppress(VmMgrError):
            runner.run(("ss", "--kill", "--tcp", "--numeric", *ends), timeout_s=TIMEOUT_S)
    return len(found)


def streams(pid: int, *, proc: Path = PROC) -> Iterator[tuple[int, int]]:
    """Give the ports, here and there, of a process' connections to where migrations arrive."""
    inodes = set()
    with suppress(OSError):
        for entry in (proc / str(pid) / "fd").iterdir():
            with suppress(OSError):  # it may just have been closed
                target = str(entry.readlink())
                if target.startswith(_SOCKET):
                    inodes.add(target.removeprefix(_SOCKET).rstrip("]"))
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (proc / str(pid) / "net" / table).read_text(encoding="ascii").splitlines()[1:]:
                words = line.split()
                ours, theirs = (int(words[place].rpartition(":")[2], 16) for place in (1, 2))
                if words[9] in inodes and theirs in PORTS:
                    yield ours, theirs

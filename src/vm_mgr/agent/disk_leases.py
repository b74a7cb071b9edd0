"""Let go of leases in a shared directory that virtlockd keeps for a process that has ended.

libvirt binds a lease to its QEMU by a connection that QEMU inherits: the lease ends with the process. Where
virtlockd was killed and started anew, a later pause and resume take the lease without that connection. Nobody
lets go of it then, and the VM can't be started on any node. The protocol is libvirt's own
(src/locking/lock_protocol.x); its framing is that of all of libvirt's RPC (docs/kbase/internals/rpc).
"""

import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from vm_mgr.agent import identity
from vm_mgr.agent.disk_locks import NodePaths, leases_folder
from vm_mgr.model.vm import VmName
from vm_mgr.ports.node_env import NodeEnv

__all__ = ["held", "let_go", "release"]

TIMEOUT_S = 3.0
PROGRAM, VERSION, CALL = 0xEA7BEEF, 1, 0
REGISTER, RELEASE = 1, 7
HEADER = struct.Struct(">IIIIII")
LENGTH = struct.Struct(">I")
# virtlockd takes an owner without a number for none.
SOME_ID = 1


def let_go(env: NodeEnv, name: VmName, pid: int | None) -> None:
    """Release what is left of a VM that has ended here; without its PID, that which was seen last.

    It is a help only: a stop never fails for it.
    """
    ended = pid or identity.last_pid(env, name)
    try:
        found = release(NodePaths.from_environment(), ended) if ended else []
    except OSError as error:
        print(f"WARNING: leases of {name} may be left: {error}", file=sys.stderr)
        return
    if found:
        text = f"{name}: virtlockd had kept {len(found)} leases of it beyond its end; they are released"
        env.journal.say(text, warning=True)


def held(places: NodePaths) -> Iterator[str]:
    """Name the leases that this node's virtlockd holds; nothing where there are none, or no virtlockd."""
    folder = leases_folder(places)
    try:
        pid = (places.run / "virtlockd.pid").read_text(encoding="ascii").strip()
        files = list((places.proc / pid / "fd").iterdir()) if folder and pid else []
    except (OSError, ValueError):
        return
    for file in files:
        try:
            path = Path(file.readlink())
        except OSError:
            continue  # it was closed meanwhile
        if str(path.parent) == folder:
            yield path.name


def release(places: NodePaths, pid: int) -> list[str]:
    """Release what is held for a process that has ended, and name it; raises OSError.

    A process of that number, whichever it is, keeps all: it could be another VM's.
    """
    names = [] if (places.proc / str(pid)).exists() else list(held(places))
    return [name for name in names if _release(places, pid, name)]


def _release(places: NodePaths, pid: int, name: str) -> bool:
    """Ask for one; virtlockd refuses what it holds for another owner."""
    with closing(socket.socket(socket.AF_UNIX)) as virtlockd:
        virtlockd.settimeout(TIMEOUT_S)
        virtlockd.connect(str(places.run / "libvirt/virtlockd-sock"))
        owner = bytes(16) + _string("vm-mgr") + struct.pack(">II", SOME_ID, pid)
        nothing = struct.pack(">I", 0)
        if not _call(virtlockd, REGISTER, owner + nothing):
            return False
        return _call(virtlockd, RELEASE, _string(leases_folder(places)) + _string(name) + nothing)


def _call(virtlockd: socket.socket, procedure: int, arguments: bytes) -> bool:
    """Tell whether it was done; the reason why not is of no use."""
    message = HEADER.pack(PROGRAM, VERSION, procedure, CALL, 0, 0) + arguments
    virtlockd.sendall(LENGTH.pack(LENGTH.size + len(message)) + message)
    (length,) = LENGTH.unpack(_read(virtlockd, LENGTH.size))
    answer = _read(virtlockd, length - LENGTH.size)
    return bool(HEADER.unpack_from(answer)[-1] == 0)


def _read(virtlockd: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = virtlockd.recv(size - len(parts))
        if not part:
            raise ConnectionResetError("virtlockd has closed the connection")
        parts += part
    return bytes(parts)


def _string(text: str) -> bytes:
    """Write a string as XDR does: its length, then as many bytes as make a multiple of four."""
    raw = os.fsencode(text)
    return LENGTH.pack(len(raw)) + raw + bytes(-len(raw) % 4)

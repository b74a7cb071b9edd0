"""Remember which process is a VM's, so that no other process and no other VM is taken for it.

The file running..NAME holds the PID, the time of the process's start, and the VM's UUID. The agent's monitor
goes by it, and renews it, with the shell alone. It is an aid: without it, and where it can't be written, a VM
is known by its name.
"""

from contextlib import suppress
from itertools import chain

from vm_mgr.agent import state_files
from vm_mgr.errors import VmMgrError
from vm_mgr.model.health_checks import LEVELS
from vm_mgr.model.vm import VmName
from vm_mgr.ports.node_env import NodeEnv

__all__ = [
    "PAUSES",
    "expect",
    "forget",
    "is_awaited",
    "known_uuid",
    "last_pid",
    "own_pid",
    "remember",
    "was_seen",
]

NOBODY = "-"
UUID_LENGTH = 36
# What the agent's monitor keeps of a guest that an I/O error has paused.
PAUSES = ("half", "io-error", "no-room")


def own_pid(env: NodeEnv, name: VmName) -> int | None:
    """Find the VM's process; one with its name and another UUID than the VM was last seen with is not it."""
    return env.processes.find_vm(name, uuid=known_uuid(env, name))


def known_uuid(env: NodeEnv, name: VmName) -> str:
    """Give the UUID that the VM was last seen with here; empty where it has left, or nothing is known."""
    words = _words(env, name)
    # Of a half UUID every VM would be another one.
    return words[2] if len(words) == 3 and len(words[2]) == UUID_LENGTH else ""


def last_pid(env: NodeEnv, name: VmName) -> int | None:
    """Give the process that was the VM's when it was last seen here; it may have ended since."""
    for kind in ("running", "ended"):
        word = state_files.read(env, kind, name).partition(" ")[0].strip()
        if word.isdecimal():
            return int(word)
    return None


def remember(env: NodeEnv, name: VmName, pid: int, uuid: str = "") -> None:
    """Keep what is known of the VM's process; the UUID is read from the process if none is given."""
    with suppress(VmMgrError):
        uuid = uuid or env.processes.uuid(pid)
        birth = env.processes.birth(pid)
        if birth:
            _write(env, name, f"{pid} {birth} {uuid}")


def expect(env: NodeEnv, name: VmName, uuid: str) -> None:
    """Keep the UUID of a VM that does not run, for the time in which another one has its name."""
    _write(env, name, f"{NOBODY} {NOBODY} {uuid}")


def is_awaited(env: NodeEnv, name: VmName) -> bool:
    """Tell whether a start was begun here and has not come to its end."""
    return _words(env, name)[:1] == [NOBODY]


def was_seen(env: NodeEnv, name: VmName) -> bool:
    """Tell whether it was known to run here, and no stop since; a monitor that misses it empties the file."""
    return state_files.path(env, "running", name).exists() and not is_awaited(env, name)


def forget(env: NodeEnv, name: VmName) -> None:
    """Forget a VM that does not run here, unless another one has its name and could be taken for it."""
    with suppress(VmMgrError):
        if env.processes.find_vm(name) is None:
            checks = [(f"check-{check}", f"said-{level}") for check, level in LEVELS.items()]
            state_files.forget(env, name, "running", "ended", "saving", *PAUSES, *chain(*checks))
            for kind in ("", "..again"):
                state_files.forget(env, VmName(f"{name}{kind}"), "disks")


def _words(env: NodeEnv, name: VmName) -> list[str]:
    return state_files.read(env, "running", name).split()


def _write(env: NodeEnv, name: VmName, line: str) -> None:
    with suppress(OSError):
        state_files.write(env, "running", name, f"{line}\n")

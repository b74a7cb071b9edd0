"""Limit for how long a command may quiesce a guest of this node (docs/design/0015-limit-of-a-hold.md)."""

from collections.abc import Sequence

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.vm import VmName, name_problems
from vm_mgr.operations.storage.quiesce import resume_quietly
from vm_mgr.ports.holds import Hold
from vm_mgr.ports.node_env import NodeEnv

__all__ = ["read_words", "release"]

AGAIN_S = 2.0
# For so long a guest is asked whose agent does not answer.
GIVE_UP_S = 600.0


def release(env: NodeEnv, name: VmName, hold: Hold) -> bool:
    """Let the guest go on wherever it runs now, and tell; False where it could not be asked for too long."""
    deadline = env.clock.monotonic() + GIVE_UP_S
    while True:
        try:
            held = resume_quietly(env, name, hold)
        except VmMgrError as error:
            if env.clock.monotonic() > deadline:
                _record(env, name, f"it is still {hold.value} by a command: {error.message}")
                return False
            env.clock.sleep(AGAIN_S)
        else:
            if held:
                _record(env, name, f"it was {hold.value} by a command that took too long, or has ended")
            return True


def _record(env: NodeEnv, name: VmName, detail: str) -> None:
    env.journal.record(Event(env.clock.utc(), EventKind.LET_GO, name, detail=detail))


def read_words(words: Sequence[str], count: int) -> tuple[str, VmName, Hold | None]:
    """Read a verb, a VM and how its guest is held; raises INVALID."""
    if len(words) != count:
        raise VmMgrError(Kind.INVALID, f"{count} words are needed")
    name = VmName(words[1])
    raise_all(name_problems(name))
    try:
        return words[0], name, Hold(words[2]) if count > 2 else None
    except ValueError as error:
        raise VmMgrError(Kind.INVALID, f"a guest is frozen or paused, not {words[2]!r}") from error

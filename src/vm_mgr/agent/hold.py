"""Limit for how long a command may quiesce a guest of this node (docs/design/0015-limit-of-a-hold.md)."""

from collections.abc import Sequence

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.vm import VmName, name_problems
from vm_mgr.operations.storage.quiesce import resume_quietly
from vm_mgr.ports.holds import Hold
from vm_mgr.ports.node_env import NodeEnv

__all__ = ["answer", "read_words", "release"]

# The answer to whoever asks; adapters/host/remote.py looks for it.
ASKED = "vm-mgr hold:"
LONGEST_S = 600.0
AGAIN_S = 2.0
# For so long a guest is asked whose agent does not answer.
GIVE_UP_S = 600.0


def answer(env: NodeEnv, words: Sequence[str]) -> str:
    """Set or forget a timer of this node, or tell the time or a process's end; else raises INVALID."""
    if list(words) == ["clock"]:
        return f"{ASKED} {env.clock.utc():.3f}"
    if words[:1] == ["process"] and len(words) == 3:
        ended = env.processes.has_ended(_number(words[1]), words[2])
        return f"{ASKED} {'ended' if ended else 'lives'}"
    here = env.cluster.local_node()
    if words[:1] == ["begin"] and len(words) == 4:
        _, name, hold = read_words(words[:3], 3)
        env.holds_at(here).begin(name, hold or Hold.FROZEN, _seconds(words[3]))
        return f"{ASKED} limit of {name} set"
    if words[:1] == ["end"]:
        _, name, _ = read_words(words, 2)
        env.holds_at(here).end(name)
        return f"{ASKED} limit of {name} ended"
    raise VmMgrError(
        Kind.INVALID,
        "begin NAME HOW SECONDS, end NAME, clock, process PID BIRTH or release NAME HOW is what can be asked",
    )


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


def _number(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 10):
        raise VmMgrError(Kind.INVALID, "a process has a number")
    return int(word)


def _seconds(word: str) -> float:
    if not (word.isascii() and word.isdigit() and 0 < int(word) <= LONGEST_S):
        raise VmMgrError(Kind.INVALID, f"a limit has 1 to {LONGEST_S:.0f} seconds")
    return float(word)

"""Count on this node how often a VM's live migrations have failed; the more, the longer is the next pause."""

import os
from contextlib import suppress

from vm_mgr.agent import state_files
from vm_mgr.model.vm import VmName
from vm_mgr.ports.node_env import NodeEnv

__all__ = ["SHORTEST_S", "add", "count", "forget", "pause_s"]

KIND = "move-tries"
SHORTEST_S = 5
LONGEST_S = 120
# What failed before that says nothing about the next time. The file's own time is that of a clock that never
# jumps; both begin with the boot. One that lies ahead is an older version's.
FORGOTTEN_S = 3600.0


def count(env: NodeEnv, name: VmName) -> int:
    """Give the number of failures in a row."""
    try:
        path = state_files.path(env, KIND, name)
        recent = 0 <= env.clock.monotonic() - path.stat().st_mtime < FORGOTTEN_S
        return int(path.read_text(encoding="utf-8")) if recent else 0
    except (OSError, ValueError):
        return 0  # none yet, or a file that was cut


def add(env: NodeEnv, name: VmName) -> int:
    """Count one more and give the number; what can't be kept is counted as the first."""
    tries = count(env, name) + 1
    with suppress(OSError):
        now = env.clock.monotonic()
        state_files.write(env, KIND, name, f"{tries}\n")
        os.utime(state_files.path(env, KIND, name), (now, now))
    return tries


def forget(env: NodeEnv, name: VmName) -> None:
    """Begin anew."""
    state_files.forget(env, name, KIND)


def pause_s(tries: int) -> int:
    """Give the time until the next try.

    >>> [pause_s(tries) for tries in (1, 2, 3, 9)]
    [5, 10, 20, 120]
    """
    doublings = min(tries - 1, 10)
    return min(SHORTEST_S << doublings, LONGEST_S)

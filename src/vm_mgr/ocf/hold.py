"""Limit for how long a command may quiesce a guest of this node: python3 -m vm_mgr.ocf.hold WORD NAME ….

begin NAME HOW SECONDS sets the timer, end NAME forgets it, clock tells the time, process PID BIRTH
whether it has ended: asked over ssh.
release NAME HOW is what the timer calls (docs/design/0015-limit-of-a-hold.md).
"""

import sys
from collections.abc import Sequence

from vm_mgr.agent.hold import read_words, release
from vm_mgr.agent.node_verbs import answer
from vm_mgr.errors import VmMgrError
from vm_mgr.ports.holds import Hold
from vm_mgr.wiring import RealEnv

__all__ = ["main"]


def main(words: Sequence[str]) -> int:
    """Do what is asked for, and say so in one line."""
    try:
        if words[:1] == ["release"]:
            _, name, hold = read_words(words, 3)
            return 0 if release(RealEnv(), name, hold or Hold.FROZEN) else 1
        print(answer(RealEnv(), words), flush=True)
    except (VmMgrError, OSError) as error:
        print(f"vm-mgr: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Remember how long powering off took on this node, so that a stop leaves enough time for it.

A guest with much memory, or a slow storage, takes long to be gone: what was measured says more than a guess.
"""

from contextlib import suppress

from vm_mgr import private
from vm_mgr.errors import VmMgrError
from vm_mgr.ports.node_env import NodeEnv

__all__ = ["remember", "reserve_s"]

FILE = "unplug-times"
LAST = 10
UNMEASURED_S = 10.0
SHORTEST_S = 4.0


def reserve_s(env: NodeEnv, timeout_s: float) -> float:
    """Give what to keep of a stop's timeout: thrice the longest that was measured and 2 s, at most half."""
    longest = max(_times(env), default=None)
    wanted = UNMEASURED_S if longest is None else max(3 * longest + 2, SHORTEST_S)
    return min(wanted, timeout_s / 2)


def remember(env: NodeEnv, seconds: float) -> None:
    """Keep a measurement until the node boots; a stop does not fail for this."""
    with suppress(OSError, VmMgrError):
        private.append(env.state_dir / FILE, f"{seconds:.1f}\n")


def _times(env: NodeEnv) -> list[float]:
    try:
        lines = (env.state_dir / FILE).read_text(encoding="utf-8").splitlines()[-LAST:]
        return [float(line) for line in lines]
    except (OSError, ValueError, VmMgrError):
        return []  # none yet; or a line that was cut, or a configuration that can't be read

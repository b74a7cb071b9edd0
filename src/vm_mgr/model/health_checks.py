"""Name the deeper checks of a running VM, each of which is a further monitor operation of its resource."""

from collections.abc import Mapping

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.numbers import whole_number

__all__ = ["LEVELS", "SHORTEST_S", "check_problems", "interval_ms", "intervals_s", "level_for"]

# name → OCF_CHECK_LEVEL: QEMU's monitor answers; vCPUs or disks move; the guest's agent answers.
LEVELS = {"qmp": 10, "counters": 20, "guest-agent": 30}
SHORTEST_S = 10
LONGEST_S = 86400


def check_problems(checks: Mapping[str, str]) -> list[VmMgrError]:
    """Check names and intervals, which are whole seconds.

    >>> check_problems({"qmp": "60"})
    []
    >>> [p.message for p in check_problems({"qemu": "60", "qmp": "5"})]
    ["there is no check 'qemu'", 'the check qmp can not be made every 5 s']
    """
    problems = []
    for name, seconds in checks.items():
        if name not in LEVELS:
            hint = f"there are {', '.join(LEVELS)}"
            problems.append(VmMgrError(Kind.INVALID, f"there is no check {name!r}", hint=hint))
        elif not SHORTEST_S <= (whole_number(seconds) or 0) <= LONGEST_S:
            message = f"the check {name} can not be made every {seconds[:20]} s"
            hint = f"give {SHORTEST_S}s to {LONGEST_S // 3600}h, for example --check {name}=60s"
            problems.append(VmMgrError(Kind.INVALID, message, hint=hint))
    return problems


def intervals_s(checks: Mapping[str, str]) -> dict[str, int]:
    """Read what is stored, in the order of the depths; what makes no sense is passed over.

    >>> intervals_s({"guest-agent": "120", "qmp": "60", "x": "1"})
    {'qmp': 60, 'guest-agent': 120}
    """
    return {
        name: int(checks[name])
        for name in LEVELS
        if name in checks and not check_problems({name: checks[name]})
    }


def interval_ms(name: str, seconds: int) -> int:
    """Give an interval that no other monitor of the resource has: by it Pacemaker tells them apart.

    >>> interval_ms("qmp", 60)
    60010
    """
    return seconds * 1000 + LEVELS[name]


def level_for(level: int) -> int:
    """Give the depth to check for an OCF_CHECK_LEVEL: the deepest that is not deeper than what is asked for.

    >>> [level_for(level) for level in (0, 5, 10, 25, 30, 99)]
    [0, 0, 10, 20, 30, 30]
    """
    return max((depth for depth in LEVELS.values() if depth <= level), default=0)

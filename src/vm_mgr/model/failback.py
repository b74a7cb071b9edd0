"""Say what a VM does when its preferred host is back after a recovery."""

import re
from enum import Enum

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmSettings

__all__ = ["STICKINESS", "Failback", "failback_problems", "returns"]

# The meta attribute that says how much a resource prefers to stay where it is.
STICKINESS = "resource-stickiness"
# A score of 1000000 is INFINITY to Pacemaker, which would make the preference a pin.
HIGHEST = 900_000


class Failback(Enum):
    """Stay where it was recovered, or return to the preferred host."""

    STAY = "stay"
    RETURN = "return"


def returns(settings: VmSettings) -> bool:
    """Tell whether the VM goes back by itself; without a preferred host there is nowhere to go.

    >>> returns(VmSettings(failback="return", preferred_host="n1"))
    True
    """
    return settings.failback == Failback.RETURN.value and bool(settings.preferred_host)


def failback_problems(settings: VmSettings) -> list[VmMgrError]:
    """Refuse what Pacemaker could not do.

    >>> failback_problems(VmSettings(failback="return", preferred_host="n1"))
    []
    >>> [p.message for p in failback_problems(VmSettings(failback="return"))]
    ['a VM that returns needs a preferred host']
    """
    known = [word.value for word in Failback]
    if settings.failback is not None and settings.failback not in known:
        hint = f"use one of {', '.join(known)}"
        return [VmMgrError(Kind.INVALID, f"unknown failback {settings.failback!r}", hint=hint)]
    if settings.failback != Failback.RETURN.value:
        return []
    if not settings.preferred_host:
        hint = "name it: --preferred-host NODE; or leave out --failback"
        return [VmMgrError(Kind.INVALID, "a VM that returns needs a preferred host", hint=hint)]
    own = settings.pacemaker_meta.get(STICKINESS, "0")
    if re.fullmatch(r"[+-]?[0-9]{1,6}", own) and int(own) <= HIGHEST:
        return []
    message = f"a VM with {STICKINESS}={own} does not return"
    hint = f"take it away: --pacemaker-meta {STICKINESS}= ; or give a number up to {HIGHEST}"
    return [VmMgrError(Kind.INVALID, message, hint=hint)]

"""Tell of a guest that it did not shut down when it was asked to, and was powered off instead."""

from vm_mgr.errors import VmMgrError
from vm_mgr.model.event import NO_SHUTDOWN, EventKind
from vm_mgr.model.vm import VmName, VmStatus
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["tell_power_off", "with_power_off"]

POLL_S = 0.25
# A stop that took less powered nothing off: the agent gives every guest longer.
SHORTEST_S = 1.0
# How far the event log may be behind what has happened.
EVENT_LOG_S = 2.0


def with_power_off(env: Env, seen: VmStatus, began_utc: float, timeout_s: float) -> VmStatus:
    """Add it to the state of a VM whose stop began then."""
    told = _told(env, seen.name, began_utc, timeout_s)
    return seen._replace(detail="; ".join(filter(None, (seen.detail, told))))


def tell_power_off(env: Env, name: VmName, began_utc: float, timeout_s: float) -> None:
    """Warn of it, where the stop is only a part of what was asked for."""
    if told := _told(env, name, began_utc, timeout_s):
        hint = f"check its file systems; a longer time: vm-mgr set {name} --stop-timeout SECONDS"
        env.say(Note(Level.WARNING, "powered-off", f"{name}: {told}", hint))


def _told(env: Env, name: VmName, began_utc: float, timeout_s: float) -> str:
    """Give the agent's words from the event log; nothing for a guest that shut down, or a silent storage.

    The log may be behind; it is only waited for after a stop that took so long that it is likely.
    """
    took_s = env.clock.utc() - began_utc
    if took_s < SHORTEST_S:
        return ""
    deadline = env.clock.monotonic() + (EVENT_LOG_S if took_s > timeout_s / 2 else 0)
    while True:
        try:
            events = env.event_log.read(began_utc - 1)  # clocks of nodes differ
        except VmMgrError:
            return ""
        for event in events:
            if (event.subject, event.kind, event.why) == (name, EventKind.STOPPED, NO_SHUTDOWN):
                return event.detail
        if env.clock.monotonic() >= deadline:
            return ""
        env.clock.sleep(POLL_S)

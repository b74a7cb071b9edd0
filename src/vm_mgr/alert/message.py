"""Read what comes through the pipe: lines of ocf/alert and ocf/VirtualDomain, and events of our own.

What Pacemaker puts into the agent's environment is in "Pacemaker Explained", chapter Alerts. On each node its
controller alerts of every change of membership that it sees, and of every end of a fencing; of a resource's
operation only the node that ran it does. The begin of a fencing is not alerted.
"""

from typing import NamedTuple

from vm_mgr.model.event import BY_PACEMAKER, Event, EventKind, read_event
from vm_mgr.model.numbers import whole_number

__all__ = ["from_pacemaker", "read_line"]

MEMBERSHIP = {"member": EventKind.JOINED, "lost": EventKind.LOST}
DONE = {"start": EventKind.RUNNING, "stop": EventKind.STOPPED, "migrate_from": EventKind.MOVED}
# What the agent's shell tells beside failures.
TOLD = {"full": EventKind.FULL, "room": EventKind.ROOM, "off": EventKind.POWERED_OFF}
DONE_STATUS = "0"  # PCMK_EXEC_DONE: the agent has answered, whatever it said


class Alert(NamedTuple):
    """The fields of a line as ocf/alert writes them; ocf/VirtualDomain leaves most empty."""

    kind: str
    node: str
    epoch: str
    usec: str
    task: str
    rc: str
    rsc: str
    target_rc: str
    status: str
    exec_ms: str
    desc: str


def read_line(line: str) -> Event | None:
    """Read a line; None for what is nobody's business, or no line of ours.

    >>> read_line("node|n2|1000|250000|||||||lost")[:3]
    (1000.25, <EventKind.LOST: 'lost'>, 'n2')
    """
    if not from_pacemaker(line):
        return read_event(line)
    fields = line.split("|", len(Alert._fields) - 1)
    if len(fields) != len(Alert._fields):
        return None
    alert = Alert(*fields)
    readers = {"node": _of_node, "fencing": _of_fencing, "resource": _of_resource, "agent": _of_agent}
    reader = readers.get(alert.kind)
    event = reader(alert) if reader and _is_number(alert.epoch) else None
    fraction_s = (whole_number(alert.usec) or 0) / 1_000_000
    return event and event._replace(when_utc=(whole_number(alert.epoch) or 0) + fraction_s)


def from_pacemaker(line: str) -> bool:
    """Tell the agents' lines, which are in no journal as events, from events, which are JSON."""
    return not line.startswith("{")


def _of_node(alert: Alert) -> Event | None:
    kind = MEMBERSHIP.get(alert.desc)
    return Event(0, kind, alert.node) if kind else None


def _of_fencing(alert: Alert) -> Event | None:
    """Read the end of a fencing; `on` takes back an earlier one."""
    if alert.task == "on":
        return None
    kind = EventKind.FENCED if alert.rc == "0" else EventKind.FENCING_FAILED
    return Event(0, kind, alert.node, detail=alert.desc)


def _of_resource(alert: Alert) -> Event | None:
    exec_ms = whole_number(alert.exec_ms)
    waited = {alert.task: exec_ms} if exec_ms else {}
    if alert.status == DONE_STATUS and alert.rc == alert.target_rc:
        kind = DONE.get(alert.task)
        return Event(0, kind, alert.rsc, alert.node, waited=waited) if kind else None
    if alert.task == "monitor" and alert.rc == "0":
        return None  # found running where that was not expected, as after a cleanup
    detail = f"{alert.task}: {alert.desc}{BY_PACEMAKER}"
    return Event(0, EventKind.FAILED, alert.rsc, alert.node, detail, waited)


def _of_agent(alert: Alert) -> Event:
    """Read why an action has failed that the agent's shell has ended, or what its monitor has seen."""
    if alert.task in TOLD:
        return Event(0, TOLD[alert.task], alert.rsc, detail=alert.desc)
    return Event(0, EventKind.FAILED, alert.rsc, detail=f"{alert.task}: {alert.desc}")


def _is_number(text: str) -> bool:
    return whole_number(text) is not None

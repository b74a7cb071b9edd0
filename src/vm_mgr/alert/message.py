"""Read what comes through the pipe: lines of ocf/alert and ocf/VirtualDomain, and events of our own.

What Pacemaker puts into the agent's environment is in "Pacemaker Explained", chapter Alerts. On each node its
controller alerts of every change of membership that it sees, and of every end of a fencing; of a resource's
operation only the node that ran it does. The begin of a fencing is not alerted.
"""

import re
from typing import NamedTuple

from vm_mgr.model.event import BY_PACEMAKER, Event, EventKind, read_event
from vm_mgr.model.numbers import whole_number

__all__ = ["from_pacemaker", "read_line"]

MEMBERSHIP = {"member": EventKind.JOINED, "lost": EventKind.LOST}
DONE = {"start": EventKind.RUNNING, "stop": EventKind.STOPPED, "migrate_from": EventKind.MOVED}
# What the agent's shell tells beside failures.
TOLD = {"full": EventKind.FULL, "room": EventKind.ROOM, "off": EventKind.POWERED_OFF}
# How Pacemaker says that a fencing has succeeded.
FENCED = re.compile(
    r"Operation (?P<action>\S+) of \S+ by (?P<by>a human|\S+)"
    r" for (?P<client>\S+?)(\.\d+)?@(?P<origin>\S+): OK\b"
)
ACTIONS = {"off": "switched off", "reboot": "switched off and on again"}
A_PERSON = "confirmed to be off by a person"
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
    if alert.rc != "0":
        return Event(0, EventKind.FENCING_FAILED, alert.node, detail=alert.desc)
    return Event(0, EventKind.FENCED, alert.node, detail=_fenced_words(alert.desc))


def _fenced_words(desc: str) -> str:
    """Say who has fenced a node, and who wanted it (stonith__event_description in Pacemaker's st_client.c).

    >>> _fenced_words("Operation off of n1 by n2 for pacemaker-controld.157@n3: OK (ref=1a2b)")
    'switched off by n2, asked by n3'
    >>> _fenced_words("Operation reboot of n1 by n2 for stonith_admin.7@n3: OK (Done) (ref=1a2b)")
    'switched off and on again by n2, asked by stonith_admin on n3'
    >>> _fenced_words("Operation off of n1 by a human for stonith_admin.7@n3: OK (ref=1a2b)")
    'confirmed to be off by a person, asked by stonith_admin on n3'
    >>> _fenced_words("n1 is gone")
    'n1 is gone'
    """
    found = FENCED.match(desc)
    if found is None or found["action"] not in ACTIONS:
        return desc
    by = A_PERSON if found["by"] == "a human" else f"{ACTIONS[found['action']]} by {found['by']}"
    whose = "" if found["client"].startswith("pacemaker-") else f"{found['client']} on "
    return f"{by}, asked by {whose}{found['origin']}"


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

"""Describe what happened to a node or a VM, for the record that is kept of failovers."""

import json
from collections.abc import Mapping
from enum import Enum
from math import isfinite
from typing import NamedTuple

__all__ = [
    "AGENT_EXPECTED",
    "BY_PACEMAKER",
    "NO_SHUTDOWN",
    "OF_DEVICES",
    "OF_NODES",
    "SCRIPTS_FOLLOW",
    "Event",
    "EventKind",
    "asked_verb",
    "read_event",
    "told",
    "waiting",
    "write_event",
]


class EventKind(Enum):
    """What can happen; the set is closed, the values are in the event log and in the journal."""

    LOST = "lost"  # a node, which may also have left in good order
    JOINED = "joined"
    FENCED = "fenced"
    FENCING_FAILED = "fencing-failed"
    RELEASED = "released"  # the storage was told that a node is dead
    RELEASE_FAILED = "release-failed"
    ASKED = "asked"  # a command begins to change a VM: which, and whose
    STARTING = "starting"  # a VM: its start has begun
    RUNNING = "running"  # its QEMU runs
    ALIVE = "alive"  # its guest's agent has answered
    MOVING = "moving"  # its live migration has begun
    MOVED = "moved"
    STOPPED = "stopped"
    SAVED = "saved"  # its memory, for its next start
    NOT_SAVED = "not-saved"  # although it was to be: its guest is shut down instead
    RESUMED = "resumed"  # with the memory that was saved
    NOT_RESUMED = "not-resumed"  # its memory is given up: it boots, as after a power cut
    LET_GO = "let-go"  # its guest, which a command had quiesced for too long
    FULL = "full"  # its storage: its guest is paused
    ROOM = "room"  # its storage has room again: its guest goes on
    POWERED_OFF = "powered-off"  # its guest, by itself: the cluster starts it again
    FAILED = "failed"
    DEVICE_FAILED = "fence-device-failed"  # a fence device, which worked until now
    DEVICE_WORKS = "fence-device-works"  # one that had failed
    SPLIT_BRAIN = "split-brain"  # an alarm: both sides of a DRBD resource were written without each other
    SECOND = "second"  # an alarm: a VM was found to run on two nodes at once


OF_NODES = frozenset(
    {
        EventKind.LOST,
        EventKind.JOINED,
        EventKind.FENCED,
        EventKind.FENCING_FAILED,
        EventKind.RELEASED,
        EventKind.RELEASE_FAILED,
    }
)

# Of a fence device, what is told of it; anything else that happens to it is nobody's business.
OF_DEVICES = {EventKind.FAILED: EventKind.DEVICE_FAILED, EventKind.RUNNING: EventKind.DEVICE_WORKS}
# How Pacemaker calls what it does with a resource; of no event more than one.
OPERATIONS = frozenset({"start", "stop", "monitor", "migrate_to", "migrate_from"})
# How the detail of a VM that runs from now on begins, for people, if an agent in its guest is expected.
AGENT_EXPECTED = "guest agent expected"
# How it ends: for Pacemaker the start goes on until the VM's monitor_scripts succeed.
SCRIPTS_FOLLOW = "its monitor scripts follow"
# How the detail of a failure ends of which Pacemaker tells: it does not know the reason.
BY_PACEMAKER = " (told by Pacemaker)"
# Why of a stop: the guest did not shut down when it was asked to, and was powered off.
NO_SHUTDOWN = "no-shutdown"


class Event(NamedTuple):
    """One thing that happened to a subject, a node, a VM or a fence device, at a time in seconds since 1970.

    node: that saw it; empty for one that did not know its name. waited: for what this took how many
    milliseconds. vms: of a lost node, the VMs that ran there. why: of a live migration that was ended, an
    AbortReason (model/migration.py); of a stop NO_SHUTDOWN, or nothing. expects_agent: of a VM that runs from
    now on, whether its definition has a channel to an agent in the guest.
    """

    when_utc: float
    kind: EventKind
    subject: str
    node: str = ""
    detail: str = ""
    waited: Mapping[str, int] = {}
    vms: tuple[str, ...] = ()
    why: str = ""
    expects_agent: bool = False


def told(event: Event) -> str:
    """Say an event in one line.

    >>> told(Event(7.1, EventKind.RUNNING, "web1", "n1", waited={"disk": 1200, "libvirt": 300}))
    'web1: running on n1; waited 1200 ms for disk, 300 ms for libvirt'
    """
    where = f" on {event.node}" if event.node and event.kind not in OF_NODES else ""
    parts = (f"{event.kind.value}{where}", event.detail, waiting(event.waited))
    return f"{event.subject}: {'; '.join(filter(None, parts))}"


def asked_verb(event: Event) -> str:
    """Name the command that an event tells of, or nothing.

    >>> asked_verb(Event(7, EventKind.ASKED, "web1", detail="set --memory 2G by root on n1"))
    'set'
    """
    return event.detail.partition(" ")[0] if event.kind is EventKind.ASKED else ""


def waiting(waited: Mapping[str, int]) -> str:
    """Say what was waited for; an operation of the cluster is not waited for, but what has happened.

    >>> waiting({"disk": 1200}), waiting({"stop": 404}), waiting({})
    ('waited 1200 ms for disk', 'in 404 ms', '')
    """
    took = "".join(f"in {ms} ms" for what, ms in waited.items() if what in OPERATIONS)
    parts = ", ".join(f"{ms} ms for {what}" for what, ms in waited.items() if what not in OPERATIONS)
    return "; ".join(filter(None, (took, f"waited {parts}" if parts else "")))


def write_event(event: Event) -> str:
    """Give an event as one line of JSON; times have milliseconds.

    >>> event = Event(7.1239, EventKind.FENCED, "n2", "n1", waited={"power": 1500})
    >>> read_event(write_event(event))
    Event(when_utc=7.124, kind=<EventKind.FENCED: 'fenced'>, subject='n2', node='n1', detail='', \
waited={'power': 1500}, vms=(), why='', expects_agent=False)
    """
    known = {
        **event._asdict(),
        "when_utc": round(event.when_utc, 3),
        "kind": event.kind.value,
        "waited": dict(event.waited),
    }
    return json.dumps({key: value for key, value in known.items() if value})


def read_event(raw: str) -> Event | None:
    """Read an event; None for what is none, or one of a newer vm-mgr that this one can't understand.

    >>> read_event("{") is read_event('{"kind": "melted"}') is None
    True
    """
    try:
        value = json.loads(raw)
        event = Event(
            float(value["when_utc"]),
            EventKind(value["kind"]),
            str(value["subject"]),
            str(value.get("node", "")),
            str(value.get("detail", "")),
            {str(what): int(ms) for what, ms in value.get("waited", {}).items()},
            tuple(map(str, value.get("vms", ()))),
            str(value.get("why", "")),
            value.get("expects_agent") is True,
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None
    return event if isfinite(event.when_utc) else None

"""What every chronicle does."""

import secrets

from vm_mgr.model.event import Event, EventKind

# Long ago: on a real cluster these are the first to be forgotten.
BEGAN = 1000.0


def events():
    """Give three events, of two nodes and out of order, under a name that no earlier test had."""
    subject = f"contract-{secrets.token_hex(4)}"
    return subject, [
        Event(BEGAN + 2.0017, EventKind.RUNNING, subject, "n2", "ö; 1 | 2", {"disk": 7}),
        Event(BEGAN + 1, EventKind.LOST, subject, "n1", vms=("web1", "web2")),
        Event(BEGAN + 2, EventKind.STARTING, subject, "n2"),
    ]


def kept(env, subject, since_utc=0.0):
    return [event for event in env.event_log.read(since_utc) if event.subject == subject]


def test_events_are_kept_in_order_of_time(env):
    subject, (running, lost, starting) = events()
    assert kept(env, subject) == []
    env.event_log.append([running, lost])
    env.event_log.append([starting])
    env.event_log.append([])
    assert kept(env, subject) == [lost, starting, running._replace(when_utc=BEGAN + 2.002)]


def test_events_of_one_instant_are_all_kept(env):
    subject, (event, *_) = events()
    env.event_log.append([event, event])
    env.event_log.append([event])
    assert len(kept(env, subject)) == 3


def test_only_events_since_a_time_are_read(env):
    subject, known = events()
    env.event_log.append(known)
    assert [event.kind for event in kept(env, subject, BEGAN + 2)] == [EventKind.STARTING, EventKind.RUNNING]
    assert kept(env, subject, BEGAN + 2.003) == []

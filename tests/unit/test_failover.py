"""What the events of several nodes tell of a failover."""

import random

import pytest

from vm_mgr.model.event import BY_PACEMAKER, Event, EventKind
from vm_mgr.model.failover import distinct, failovers

K = EventKind
BEGAN = 1_700_000_000.0


def event(at_s, kind, subject, node="n1", **more):
    return Event(BEGAN + at_s, kind, subject, node, **more)


def loss(at_s=0.0, node="n2", vms=("web1",), seers=("n1", "n3")):
    """The loss of a node as both others see it, with clocks some milliseconds apart."""
    for number, seer in enumerate(seers):
        skew = number * 0.007
        yield event(at_s + skew, K.LOST, node, seer, vms=vms)
        yield event(at_s + 1.5 + skew, K.FENCED, node, seer, detail="off")
        yield event(at_s + 1.8 + skew, K.RELEASED, node, seer, waited={"proof": 40, "daemons": 200})


def start(at_s, vm="web1", node="n1"):
    yield event(at_s, K.STARTING, vm, node)
    yield event(at_s + 0.9, K.RUNNING, vm, node, waited={"disk": 300, "libvirt": 400})
    yield event(at_s + 0.95, K.RUNNING, vm, node, waited={"start": 950})


def only(events, vm=""):
    (found,) = failovers(events, vm)
    return found


def times(phases):
    return [(phase.kind, phase.at_ms, phase.took_ms) for phase in phases]


def test_agent_knows_better_than_pacemaker_what_was_waited_for():
    words = ({"start": 950}, {"disk": 300, "libvirt": 400})
    for order in (words, words[::-1]):
        (one,) = distinct(event(1.0, K.RUNNING, "web1", waited=waited) for waited in order)
        assert one.waited == words[1]


def test_failover_has_its_phases_once_and_in_milliseconds():
    alive = event(20.0, K.ALIVE, "web1", waited={"guest agent": 17400})
    found = only([*loss(), *start(1.7), alive])
    assert (found.node, found.began_utc, found.unseen) == ("n2", BEGAN, ())
    assert times(found.phases) == [(K.LOST, 0, 0), (K.FENCED, 1500, 1500), (K.RELEASED, 1800, 300)]
    assert found.phases[2].waited == {"proof": 40, "daemons": 200}
    (back,) = found.recoveries
    assert (back.vm, back.node) == ("web1", "n1")
    assert times(back.phases) == [(K.STARTING, 1700, 200), (K.RUNNING, 2600, 900), (K.ALIVE, 20000, 17400)]
    assert back.phases[1].waited == {"disk": 300, "libvirt": 400}


def test_order_of_arrival_does_not_matter():
    events = [*loss(), *start(1.7)]
    assert failovers(events[::-1]) == failovers(events)


def test_vms_are_in_the_order_of_their_starts():
    found = only([*loss(vms=("a", "b", "c")), *start(3, "a"), *start(2, "b", "n3")])
    assert [(one.vm, one.node) for one in found.recoveries] == [("b", "n3"), ("a", "n1")]
    assert found.unseen == ("c",)


def test_vms_that_stayed_are_no_part_of_it():
    before = event(-100, K.RUNNING, "web2", "n3")
    found = only([before, *loss(), *start(2), event(5, K.STARTING, "web3", "n3")])
    assert [one.vm for one in found.recoveries] == ["web1"]


def test_failovers_of_one_vm():
    events = [*loss(vms=("a", "b")), *start(2, "a"), *start(3, "b")]
    assert len(failovers(events, "a")) == len(failovers(events)) == 1
    assert failovers(events, "c") == []


@pytest.mark.parametrize("kind", [K.LOST, K.FENCED, K.RELEASED, K.STARTING])
def test_missing_events_are_left_out(kind):
    before = event(-100, K.RUNNING, "web1", "n2")
    found = only([before, *(one for one in [*loss(), *start(2)] if one.kind is not kind)])
    kinds = [phase.kind for phase in (*found.phases, *found.recoveries[0].phases)]
    assert kinds == [one for one in (K.LOST, K.FENCED, K.RELEASED, K.STARTING, K.RUNNING) if one is not kind]
    assert found.phases[0].at_ms == 0


def test_vm_that_only_began_to_start():
    found = only([*loss(), event(2, K.STARTING, "web1")])
    assert [phase.kind for phase in found.recoveries[0].phases] == [K.STARTING]
    assert found.recoveries[0].node == ""


def test_clocks_that_differ_give_no_negative_durations():
    """n3 is 200 ms behind: what it starts seems to begin before the fencing that n1 saw."""
    events = [*loss(seers=("n1",)), *start(1.45, node="n3")]
    found = only(events)
    (back,) = found.recoveries
    assert times(back.phases) == [(K.STARTING, 1450, 1450), (K.RUNNING, 2350, 900)]
    late = [event(0, K.LOST, "n2", vms=("web1",)), event(-0.2, K.FENCED, "n2", "n3"), *start(0.1)]
    assert times(only(late).phases) == [(K.LOST, 200, 200), (K.FENCED, 0, 0)]


def test_start_that_seems_older_than_the_loss_by_clocks_alone_belongs_to_it():
    quick = [event(0, K.LOST, "n2", vms=("web1",)), event(0.1, K.FENCED, "n2"), *start(-0.3, node="n3")]
    (back,) = only(quick).recoveries
    assert times(back.phases)[0] == (K.STARTING, -300, 0)


def test_start_before_the_fencing_is_not_hidden():
    found = only([event(0, K.LOST, "n2", vms=("web1",)), *start(1), event(9, K.FENCED, "n2")])
    assert found.recoveries[0].phases[1].at_ms < found.phases[1].at_ms


def test_two_failovers_in_a_row():
    events = [*loss(), *start(2, node="n1"), event(30, K.JOINED, "n2"), *loss(60, "n1", seers=("n2", "n3"))]
    first, second = failovers([*events, *start(62, node="n3")])
    assert (first.node, second.node) == ("n2", "n1")
    assert [one.recoveries[0].node for one in (first, second)] == ["n1", "n3"]
    assert second.began_utc == BEGAN + 60
    assert second.recoveries[0].phases[0].at_ms == 2000


def test_vm_whose_new_node_is_lost_before_it_runs():
    first, second = failovers(
        [*loss(), event(2, K.STARTING, "web1"), *loss(3, "n1", seers=("n3",)), *start(6, node="n3")]
    )
    assert [phase.kind for phase in first.recoveries[0].phases] == [K.STARTING]
    assert second.recoveries[0].node == "n3"


def test_same_node_twice():
    events = [*loss(), *start(2), event(30, K.JOINED, "n2"), *loss(100, vms=())]
    assert [one.began_utc - BEGAN for one in failovers(events)] == [0, 100]


def test_same_node_twice_though_nobody_saw_it_come_back():
    assert [one.began_utc - BEGAN for one in failovers([*loss(), *loss(100)])] == [0, 100]
    without_loss = [one for one in loss() if one.kind is not K.LOST]
    assert len(failovers([*without_loss, *loss(100)])) == 2


def test_failed_fencing_and_then_success_is_one_failover():
    tries = [event(at, K.FENCING_FAILED, "n2", seer) for at in (5, 65, 125) for seer in ("n1", "n3")]
    fenced = [event(180, K.FENCED, "n2"), event(180.4, K.RELEASED, "n2")]
    found = only([event(0, K.LOST, "n2", vms=("web1",)), *tries, *fenced, *start(181)])
    assert times(found.phases) == [
        (K.LOST, 0, 0),
        (K.FENCING_FAILED, 5000, 5000),
        (K.FENCING_FAILED, 65000, 60000),
        (K.FENCING_FAILED, 125000, 60000),
        (K.FENCED, 180000, 55000),
        (K.RELEASED, 180400, 400),
    ]
    assert found.recoveries[0].phases[0].took_ms == 600


def test_node_that_was_fenced_while_it_ran_is_lost_after_that():
    events = [event(0, K.FENCED, "n2"), event(1, K.LOST, "n2", vms=("web1",)), *start(2)]
    assert [phase.kind for phase in only(events).phases] == [K.FENCED, K.LOST]


def test_failed_starts_are_shown_and_the_next_node_counts():
    events = [
        *loss(),
        event(1.9, K.FAILED, "web1", detail="monitor: not running"),
        event(2, K.STARTING, "web1", "n1"),
        event(3, K.FAILED, "web1", "n1", detail="start: its disk is in use"),
        event(3.5, K.STARTING, "web1", "n3"),
        event(4, K.RUNNING, "web1", "n3"),
    ]
    (back,) = only(events).recoveries
    assert [phase.kind for phase in back.phases] == [K.STARTING, K.FAILED, K.STARTING, K.RUNNING]
    assert (back.node, back.phases[1].detail) == ("n3", "start: its disk is in use")


def test_node_that_leaves_in_good_order_is_no_failover():
    assert failovers([event(0, K.LOST, "n2"), event(100, K.JOINED, "n2")]) == []


def test_lost_node_with_vms_is_one_before_anything_is_done():
    assert only([event(0, K.LOST, "n2", vms=("web1",))]).unseen == ("web1",)


def test_stopped_vms_are_not_missed():
    events = [event(-50, K.RUNNING, "web1", "n2"), event(-40, K.STOPPED, "web1", "n2"), *loss(vms=())]
    assert only(events).unseen == ()


def test_moved_vm_is_where_it_went():
    events = [event(-50, K.RUNNING, "web1", "n1"), event(-40, K.MOVED, "web1", "n2"), *loss(vms=())]
    assert only(events).unseen == ("web1",)


def test_end_of_a_live_migration_at_its_source_is_no_stop_of_the_vm():
    ran = event(-50, K.RUNNING, "web1", "n1")
    moved = [event(-40, K.MOVED, "web1", "n2"), event(-39, K.STOPPED, "web1", "n1")]
    assert only([ran, *moved, *loss(vms=())]).unseen == ("web1",)


def test_distinct_events_of_one_kind_stay():
    events = [event(at, K.RUNNING, "web1") for at in (0, 1, 5)]
    assert [one.when_utc - BEGAN for one in distinct(events)] == [0, 5]
    assert len(distinct([event(0, K.FAILED, "web1", "n1"), event(1, K.FAILED, "web1", "n3")])) == 2
    assert len(distinct([event(0, K.RUNNING, "web1"), event(0, K.RUNNING, "web2")])) == 2


@pytest.mark.parametrize("at_s", [-0.004, 0.0, 0.1])
def test_agents_reason_stands_wherever_pacemakers_clock_puts_its_own_words(at_s):
    told = event(0, K.FAILED, "web1", detail="monitor: its disk is gone")
    pacemaker = event(at_s, K.FAILED, "web1", detail=f"monitor: Error occurred{BY_PACEMAKER}")
    for events in ((told, pacemaker), (pacemaker, told)):
        (one,) = distinct(events)
        assert one.detail == told.detail


def test_joined_events_have_what_either_knew():
    first = event(0, K.FAILED, "web1", detail="start: its disk is in use")
    again = event(0.1, K.FAILED, "web1", detail="start: Error occurred", waited={"start": 7})
    (one,) = distinct([again, first])
    assert (one.when_utc, one.detail, one.waited) == (BEGAN, first.detail, {"start": 7})
    assert len(distinct([first, again._replace(detail="monitor: not running")])) == 2


def test_late_news_of_a_node_that_is_back_begins_no_failover():
    back = [event(30, K.JOINED, "n2", "n1"), event(31, K.RELEASE_FAILED, "n2", detail="n2 is online")]
    died = [event(300, K.FAILED, "web1", "n2"), *start(301, node="n3")]
    (found,) = failovers([*loss(), *start(1.7), *back, event(40, K.MOVED, "web1", "n2"), *died])
    assert found.began_utc == BEGAN


ASKED = event(-9, K.ASKED, "web2")
# Of two nodes: n3 is 300 ms behind, and an old Pacemaker gives n1's times in whole seconds.
MIXED = [
    ASKED,
    event(0.0, K.LOST, "n2", "n1", vms=("web1", "web2")),
    event(1.2, K.RELEASED, "n2", "n3"),
    event(1.25, K.STARTING, "web2", "n3"),
    event(1.5, K.FENCED, "n2", "n1"),
    event(2.0, K.STARTING, "web1", "n1"),
    event(2.0, K.RUNNING, "web1", "n1"),
    event(2.1, K.RUNNING, "web2", "n3"),
    event(9.0, K.ALIVE, "web2", "n3"),
]
IN_ORDER = [
    ("web2", K.ASKED),
    ("n2", K.LOST),
    ("n2", K.FENCED),
    ("n2", K.RELEASED),
    ("web2", K.STARTING),
    ("web1", K.STARTING),
    ("web1", K.RUNNING),
    ("web2", K.RUNNING),
    ("web2", K.ALIVE),
]


@pytest.mark.parametrize("seed", range(20))
def test_events_of_several_nodes_read_as_one_followed_from_the_other(seed):
    mixed = random.Random(seed).sample(MIXED, len(MIXED))  # noqa: S311 - the same each time
    assert [(one.subject, one.kind) for one in distinct(mixed)] == IN_ORDER
    assert [(subject, phase.kind) for subject, phase in only(mixed).steps] == IN_ORDER[1:]


@pytest.mark.parametrize("seed", range(5))
def test_events_of_one_instant_read_in_causal_order(seed):
    kinds = [K.LOST, K.FENCING_FAILED, K.FENCED, K.RELEASED]
    events = [event(0, kind, "n2") for kind in kinds]
    events += [event(0, kind, "web1") for kind in (K.STOPPED, K.STARTING, K.RUNNING, K.ALIVE)]
    mixed = random.Random(seed).sample(events, len(events))  # noqa: S311 - the same each time
    assert distinct(mixed) == events


def test_what_one_clock_has_seen_is_left_in_its_order():
    """A node that is fenced while it runs is lost after that, also within half a second."""
    events = [event(0, K.FENCED, "n2"), event(0.3, K.LOST, "n2", vms=("web1",))]
    assert distinct(events[::-1]) == events


def test_what_is_further_apart_than_clocks_is_left_in_its_order():
    start_first = [event(1.0, K.STARTING, "web1", "n3"), event(1.6, K.FENCED, "n2", "n1")]
    assert distinct(start_first[::-1]) == start_first
    found = only([event(0, K.LOST, "n2", vms=("web1",)), *start_first])
    assert [phase.kind for _, phase in found.steps] == [K.LOST, K.STARTING, K.FENCED]


def test_failover_reads_by_time_across_its_vms():
    found = only([*loss(vms=("a", "b")), *start(1.7, "a"), *start(1.75, "b", "n3")])
    assert [(subject, phase.at_ms) for subject, phase in found.steps] == [
        ("n2", 0),
        ("n2", 1500),
        ("a", 1700),
        ("b", 1750),
        ("n2", 1800),
        ("a", 2600),
        ("b", 2650),
    ]

"""Tell from an event log's events what each failover was: when its phases were, and what they waited for.

Events come from several nodes, whose clocks differ by some milliseconds, and any of them can be missing: a
phase that nobody saw is left out. Nothing that was seen is left out because it ought not to have happened.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from vm_mgr.model.event import BY_PACEMAKER, OF_NODES, Event, EventKind

__all__ = ["PLACES", "Failover", "Phase", "Recovery", "arrival", "distinct", "failovers"]

# Several nodes see the same; what is further apart has happened twice.
SAME_S = 2.0
# By how much the nodes' clocks may differ, so that an event seems to be older than what it follows from.
SKEW_S = 0.5
# A node that was fenced while it ran is seen to be lost after that; later it is lost once more.
ALSO_LOST_S = 60.0
# A node whose BMC is broken is fenced in vain every minute or so.
QUIET_S = 3600.0
PLACES = (EventKind.RUNNING, EventKind.MOVED)
# Of several events of one instant each follows from those before it; of what is in one set from neither.
CAUSAL_ORDER = (
    {EventKind.ASKED},
    {EventKind.LOST},
    {EventKind.FENCING_FAILED},
    {EventKind.FENCED},
    {EventKind.RELEASED, EventKind.RELEASE_FAILED},
    {EventKind.JOINED, EventKind.FAILED, EventKind.POWERED_OFF, EventKind.SECOND, EventKind.MOVING}
    | {EventKind.SPLIT_BRAIN},
    {EventKind.LET_GO, EventKind.FULL, EventKind.ROOM, EventKind.SAVED, EventKind.NOT_SAVED},
    {EventKind.DEVICE_FAILED, EventKind.DEVICE_WORKS},
    {EventKind.STOPPED},
    {EventKind.STARTING},
    {EventKind.RESUMED, EventKind.NOT_RESUMED},
    {EventKind.RUNNING, EventKind.MOVED},
    {EventKind.ALIVE},
)
_RANK = {kind: rank for rank, kinds in enumerate(CAUSAL_ORDER) for kind in kinds}


def arrival(events: Iterable[Event], name: str, nodes: Collection[str]) -> float | None:
    """Give when a VM came to one of its nodes; None where the last that is told of it is another thing.

    Without nodes: when it stopped.
    """
    # After a live migration there is also a stop where it came from.
    told = [
        one
        for one in events
        if one.subject == name
        and (one.kind in PLACES or (one.kind is EventKind.STOPPED and (not nodes or one.node in nodes)))
    ]
    last = told[-1] if told else None
    if last is None or (last.kind in PLACES) is not bool(nodes) or (nodes and last.node not in nodes):
        return None
    return last.when_utc


class Phase(NamedTuple):
    """A step of a failover: at_ms after the failover's first event, took_ms after the step before it."""

    kind: EventKind
    at_ms: int
    took_ms: int
    node: str = ""
    detail: str = ""
    waited: Mapping[str, int] = {}


class Recovery(NamedTuple):
    """How a VM of the lost node came back, and where."""

    vm: str
    node: str
    phases: tuple[Phase, ...]


class Failover(NamedTuple):
    """The loss of a node, what was done about it, and its VMs in the order in which they were started.

    unseen: VMs that ran there and of which no start was seen since.
    """

    node: str
    began_utc: float
    phases: tuple[Phase, ...]
    recoveries: tuple[Recovery, ...] = ()
    unseen: tuple[str, ...] = ()

    @property
    def steps(self) -> list[tuple[str, Phase]]:
        """Give each step with its node or VM by time, and what follows from another one after that."""
        begin_ms = [_after_fencing(self.phases, one.phases[0].at_ms) for one in self.recoveries]
        chains = [
            _placed(self.node, self.phases, 0),
            *(_placed(one.vm, one.phases, ms) for one, ms in zip(self.recoveries, begin_ms, strict=True)),
        ]
        steps = sorted((step for chain in chains for step in chain), key=lambda step: step[0])
        return [(subject, phase) for _, subject, phase in steps]


class _Episode(NamedTuple):
    """The events of a lost node in causal order, and the VMs that it had."""

    events: tuple[Event, ...]
    vms: frozenset[str] = frozenset()

    @property
    def began_utc(self) -> float:
        return min(one.when_utc for one in self.events)

    @property
    def node(self) -> str:
        return self.events[0].subject


def distinct(events: Iterable[Event]) -> list[Event]:
    """Join what several nodes have told of one thing, or the agent and Pacemaker; by time, then by cause.

    What by the clocks alone seems older than its cause comes after that.
    All see a node, but a VM is seen where it is: one that fails on two nodes in turn does so twice.
    """
    found: list[Event] = []
    last: dict[tuple[EventKind, str, str, str], int] = {}
    for event in sorted(events, key=lambda one: one.when_utc):
        where = "" if event.kind in OF_NODES else event.node
        task = event.detail.partition(":")[0] if event.kind in (EventKind.FAILED, EventKind.ASKED) else ""
        key = (event.kind, event.subject, where, task)
        index = last.get(key)
        if index is not None and event.when_utc - found[index].when_utc <= SAME_S:
            found[index] = _joined(found[index], event)
        else:
            last[key] = len(found)
            found.append(event)
    return _in_order(found)


def failovers(events: Iterable[Event], vm: str = "") -> list[Failover]:
    """Find the failovers, or those of one VM, the oldest first; a node that leaves in good order is none."""
    known = distinct(events)
    episodes = [_Episode(one, _vms_of(one, known)) for one in _episodes(known)]
    found = [_failover(episode, episodes[number + 1 :], known) for number, episode in enumerate(episodes)]
    return [
        one
        for one in found
        if _is_failover(one) and (not vm or vm in one.unseen or any(vm == back.vm for back in one.recoveries))
    ]


def _in_order(events: Sequence[Event]) -> list[Event]:
    """Sort what is sorted by time also by cause."""
    causes = [one for one in events if one.kind in OF_NODES]
    times = [one.when_utc for one in causes]

    def place(event: Event) -> tuple[float, int]:
        near = causes[bisect_right(times, event.when_utc) : bisect_right(times, event.when_utc + SKEW_S)]
        after = [one.when_utc for one in near if one.node != event.node and _is_cause(one, event)]
        return max([event.when_utc, *after]), _RANK[event.kind]

    return sorted(events, key=place)


def _is_cause(one: Event, event: Event) -> bool:
    if event.kind in OF_NODES:
        known = EventKind.JOINED not in (one.kind, event.kind) and one.subject == event.subject
        return known and _RANK[one.kind] < _RANK[event.kind]
    return event.kind is EventKind.STARTING and one.kind is EventKind.FENCED


def _after_fencing(phases: Sequence[Phase], at_ms: int) -> int:
    """Give a start that only by the clocks seems older than the fencing the fencing's time."""
    ends = [one.at_ms for one in phases if one.kind is EventKind.FENCED]
    return max([at_ms, *(end for end in ends if end - at_ms <= SKEW_S * 1000)])


def _placed(subject: str, phases: Sequence[Phase], begin_ms: int) -> Iterator[tuple[int, str, Phase]]:
    """Give each step with where it belongs: none before the step that it follows from."""
    places = accumulate((phase.at_ms for phase in phases), max, initial=begin_ms)
    next(places)
    return ((place, subject, phase) for place, phase in zip(places, phases, strict=True))


def _joined(first: Event, again: Event) -> Event:
    """Keep the word of who knows more; of the times of Pacemaker and of the agent either may be the first."""
    words = [one.detail for one in (first, again) if one.detail]
    return first._replace(
        node=first.node or again.node,
        detail=min(words, key=lambda word: word.endswith(BY_PACEMAKER), default=""),
        waited=max(first.waited, again.waited, key=len),
        vms=tuple(sorted({*first.vms, *again.vms})),
        why=first.why or again.why,
    )


def _is_failover(found: Failover) -> bool:
    fenced = any(phase.kind is not EventKind.LOST for phase in found.phases)
    return bool(fenced or found.recoveries or found.unseen)


def _episodes(events: Sequence[Event]) -> list[tuple[Event, ...]]:
    """Gather each node's events from its loss until it is back, or is lost again without having been seen."""
    found: list[list[Event]] = []
    under_way: dict[str, list[Event]] = {}
    for event in events:
        if event.kind not in OF_NODES:
            continue
        episode = under_way.get(event.subject)
        if event.kind is EventKind.JOINED:
            under_way.pop(event.subject, None)
        elif episode is None and event.kind is EventKind.RELEASE_FAILED:
            continue  # late news of a node that is back: nothing was lost with it
        elif episode is None or _is_new(episode, event):
            found.append([event])
            under_way[event.subject] = found[-1]
        else:
            episode.append(event)
    return [tuple(one) for one in found]


def _is_new(episode: Sequence[Event], event: Event) -> bool:
    if event.when_utc - episode[-1].when_utc > QUIET_S:
        return True
    if event.kind is not EventKind.LOST:
        return False
    late = event.when_utc - episode[0].when_utc > ALSO_LOST_S
    return late or any(one.kind is EventKind.LOST for one in episode)


def _vms_of(episode: Sequence[Event], events: Sequence[Event]) -> frozenset[str]:
    """Name the VMs that the node had, as the cluster said and as they were last seen."""
    node, began = episode[0].subject, episode[0].when_utc
    places: dict[str, str] = {}
    for event in events:
        if event.when_utc >= began - SKEW_S:
            continue
        if event.kind in PLACES:
            places[event.subject] = event.node
        # After a live migration Pacemaker also stops the VM where it came from.
        elif event.kind is EventKind.STOPPED and places.get(event.subject) == event.node:
            del places[event.subject]
    told = {vm for event in episode for vm in event.vms}
    return frozenset({*told, *(vm for vm, place in places.items() if place == node)})


def _failover(episode: _Episode, later: Sequence[_Episode], events: Sequence[Event]) -> Failover:
    phases = tuple(_phases(episode.events, episode.began_utc))
    recoveries, unseen = [], []
    for vm in sorted(episode.vms):
        until = min((one.began_utc for one in later if vm in one.vms), default=float("inf"))
        seen = [
            event
            for event in events
            if event.subject == vm
            and event.kind not in OF_NODES
            and episode.began_utc - SKEW_S <= event.when_utc < until - SKEW_S
        ]
        recovery = _recovery(vm, seen, phases, episode.began_utc)
        if recovery:
            recoveries.append(recovery)
        else:
            unseen.append(vm)
    recoveries.sort(key=lambda one: one.phases[0].at_ms)
    return Failover(episode.node, episode.began_utc, phases, tuple(recoveries), tuple(unseen))


def _recovery(vm: str, seen: Sequence[Event], before: Sequence[Phase], began_utc: float) -> Recovery | None:
    """Follow the VM to where it runs first; failed starts on the way are part of it."""
    running = next((event for event in seen if event.kind is EventKind.RUNNING), None)
    until = running.when_utc + SKEW_S if running else float("inf")
    tries = [
        event
        for event in seen
        if event.kind in (EventKind.STARTING, EventKind.FAILED) and event.when_utc <= until
    ]
    first = next((number for number, one in enumerate(tries) if one.kind is EventKind.STARTING), len(tries))
    steps = tries[first:] + ([running] if running else [])
    if not steps:
        return None
    if running:
        alive = (event for event in seen if event.kind is EventKind.ALIVE and event.node == running.node)
        steps += [event for event in alive if event.when_utc >= running.when_utc - SKEW_S][:1]
    begin_ms = _ms(steps[0].when_utc - began_utc)
    waited_until = max((phase.at_ms for phase in before if phase.at_ms <= begin_ms), default=0)
    phases = _phases(steps, began_utc, waited_until)
    return Recovery(vm, running.node if running else "", tuple(phases))


def _phases(events: Iterable[Event], began_utc: float, last_ms: int = 0) -> Iterator[Phase]:
    for event in events:
        at_ms = _ms(event.when_utc - began_utc)
        took_ms = max(0, at_ms - last_ms)  # clocks differ
        yield Phase(event.kind, at_ms, took_ms, event.node, event.detail, event.waited)
        last_ms = at_ms


def _ms(seconds: float) -> int:
    return round(seconds * 1000)

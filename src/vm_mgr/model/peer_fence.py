"""Decide whether DRBD may go on without its peer, from what the cluster and DRBD itself know.

DRBD's kernel module asks before it resumes writes that it has frozen, and before it promotes a disk whose
peer it can't reach (drbd.conf(5): fencing resource-and-stonith, fence-peer). The answer is an exit status.
"""

from enum import Enum
from typing import NamedTuple

__all__ = ["SAFE", "Data", "Local", "Peer", "Step", "Verdict", "View", "decide"]


class Verdict(Enum):
    """What is answered; the values are drbd.conf(5)'s for fence-peer. Anything else leaves writes frozen."""

    DOUBT = 1
    OUTDATED = 4  # the peer is reachable, and knows that it is outdated
    DOWN = 5  # not fenced, but it left the cluster in good order, without DRBD
    REFUSED = 6  # the peer may be promoted: outdate this side
    FENCED = 7


# With these DRBD goes on, so the constraint has to be there before.
SAFE = frozenset({Verdict.OUTDATED, Verdict.DOWN, Verdict.FENCED})


class Step(Enum):
    """What is to be done before anything can be answered."""

    WAIT = "wait"
    PLACE = "place"


class Peer(Enum):
    """The peer's node, as the cluster sees it."""

    ONLINE = "online"
    LOST = "lost"  # to be fenced, or coming, or leaving: it will be something else soon
    FENCED = "fenced"
    LEFT = "left"  # in good order: what it ran was stopped before
    STRANGE = "strange"  # the cluster has no such node


class Data(Enum):
    """The worst of this side's disks."""

    UP_TO_DATE = "UpToDate"
    CONSISTENT = "Consistent"  # complete, but the peer's may be newer
    WORSE = "worse"


class Local(NamedTuple):
    """DRBD on this node; peer_up_to_date says that it is connected, and that both sides are the same."""

    promoted: bool
    data: Data
    peer_up_to_date: bool


class View(NamedTuple):
    """The cluster, seen from here.

    clone: the resource that runs DRBD here. allowed: the one node that the constraint lets be promoted;
    stamp: which constraint it is of all that were ever placed. known: so many other nodes have it in their
    copy of the CIB that no partition without this node can promote the peer.
    """

    clone: str
    quorate: bool
    peer: Peer
    allowed: str = ""
    stamp: str = ""
    known: bool = False


def decide(view: View, local: Local, *, here: str, stamp: str) -> tuple[Step | Verdict, str]:
    """Say what comes next, and why; stamp is that of the constraint that this call has placed, if it has.

    A peer that is only Consistent is never enough: that it is fenced makes this side's data no newer.
    """
    refusal = _refusal(view, local, here)
    if refusal:
        return refusal
    if not view.quorate:
        return Step.WAIT, "this node has no quorum"
    verdict, why = _of_peer(view.peer, local.data)
    if verdict not in SAFE:
        return verdict, why
    if not stamp or view.stamp != stamp:
        return Step.PLACE, why
    if not view.known:
        return Step.WAIT, f"{why}, but other nodes do not yet show the constraint"
    return verdict, why


def _refusal(view: View, local: Local, here: str) -> tuple[Verdict, str] | None:
    """Find what no waiting changes."""
    reasons = (
        (not view.clone, "the cluster has no clone for it"),
        (local.peer_up_to_date, "its peer is connected and up to date again"),
        (view.peer is Peer.STRANGE, "its peer is no node of the cluster"),
        (local.data is Data.WORSE, "its data here is neither UpToDate nor Consistent"),
        (view.allowed not in ("", here), f"only {view.allowed} may be promoted"),
    )
    why = next((text for holds, text in reasons if holds), "")
    if not why:
        return None
    refused = why == reasons[-1][1] and view.peer is Peer.ONLINE and not local.promoted
    return Verdict.REFUSED if refused else Verdict.DOUBT, why


def _of_peer(peer: Peer, data: Data) -> tuple[Step | Verdict, str]:
    if peer is Peer.ONLINE:
        return Verdict.OUTDATED, "its peer is online"
    if peer is Peer.LOST:
        return Step.WAIT, "its peer is lost, and not yet fenced"
    if data is not Data.UP_TO_DATE:
        return Verdict.DOUBT, "its peer is down, and the data here may be older than the peer's"
    if peer is Peer.FENCED:
        return Verdict.FENCED, "its peer is fenced"
    return Verdict.DOWN, "its peer has left the cluster in good order"

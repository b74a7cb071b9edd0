"""Answer DRBD's handlers: fence the peer, so that this side may go on alone, and let it take part again.

A constraint in the CIB says which node may be promoted. It is placed before writes go on without the peer,
and removed once both sides are the same again, by the node that it names: no other one is sure to be the
first to know when the link breaks. It has a stamp, which is new each time that writes have been frozen. So
what is removed is the constraint of the time when both sides were seen to be the same, and none that came
meanwhile.
"""

import secrets
from contextlib import suppress

from vm_mgr.errors import VmMgrError
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.peer_fence import SAFE, Data, Step, Verdict, decide
from vm_mgr.ports.peer_fence import PeerFenceEnv

__all__ = ["LONGEST_S", "fence_peer", "split_brain", "unfence_peer"]

# drbdadm waits 600 s for a handler. A VM whose writes are frozen has nothing better to wait for than fencing,
# and DRBD does not ask again where the answer was that nothing is proven.
PROMOTED_S = 540.0
# Pacemaker gives a promotion 90 s; fencing comes before it, so that this is seldom needed.
PROMOTION_S = 75.0
LONGEST_S = PROMOTED_S + 40
UNFENCE_S = 120.0
PAUSE_S = 0.5


def fence_peer(env: PeerFenceEnv, resource: str, peer: str, minors: tuple[str, ...]) -> Verdict:
    """Place the constraint, wait until it and the peer's end are proven, and give DRBD's answer."""
    return _Fencing(env, resource, peer, minors or env.disks.minors(resource)).answer()


class _Fencing:
    """One call; what it has placed is known by its stamp."""

    def __init__(self, env: PeerFenceEnv, resource: str, peer: str, minors: tuple[str, ...]) -> None:
        self.env, self.resource, self.peer, self.minors = env, resource, peer, minors
        self.stamp = ""
        self.made = False  # the constraint, which was not there before
        self.said = ""
        self.promoted = env.disks.read(resource, minors).promoted
        self.end = env.clock.monotonic() + (PROMOTED_S if self.promoted else PROMOTION_S)

    def answer(self) -> Verdict:
        """Go on until there is an answer, or no time is left."""
        while True:
            step, why = self._step()
            self._say(f"{why} ({step.name.lower()})", warning=step not in SAFE)
            if isinstance(step, Verdict):
                return self._ended(step, why)
            if self.env.clock.monotonic() >= self.end:
                return self._ended(Verdict.DOUBT, f"{why}: not proven in time")
            if step is Step.WAIT:
                self.env.clock.sleep(PAUSE_S)

    def _step(self) -> tuple[Step | Verdict, str]:
        constraints = self.env.constraints
        try:
            view = constraints.look(self.resource, self.peer, self.stamp)
            local = self.env.disks.read(self.resource, self.minors)
            step, why = decide(view, local, here=constraints.here(), stamp=self.stamp)
            if step is Step.PLACE:
                # Before the call: one that does not answer may have placed it.
                old, self.stamp = view.stamp, secrets.token_hex(4)
                if view.allowed:
                    placed = constraints.renew(self.resource, view.clone, old, self.stamp)
                else:
                    self.made = True
                    placed = constraints.create(self.resource, view.clone, self.stamp)
                return (step, why) if placed else (Step.WAIT, "the constraint was changed meanwhile")
        except VmMgrError as error:
            return Step.WAIT, str(error)
        return step, why

    def _ended(self, verdict: Verdict, why: str) -> Verdict:
        self._say(f"{why}: answered {verdict.value}, {verdict.name.lower()}", warning=verdict not in SAFE)
        if verdict in SAFE:
            return verdict
        if self.made:  # nothing was written in its name, and it would keep the peer from being promoted
            with suppress(VmMgrError):
                self.env.constraints.remove(self.resource, self.stamp)
        if self.promoted and verdict is Verdict.DOUBT:
            _record(self.env, EventKind.FAILED, self.resource, f"DRBD: its writes stay frozen: {why}")
        return verdict

    def _say(self, text: str, *, warning: bool) -> None:
        if text != self.said:
            self.said = text
            whose = f"DRBD resource {self.resource}, peer {self.peer or '?'}"
            self.env.journal.say(f"{whose}: {text}", warning=warning)


def unfence_peer(env: PeerFenceEnv, resource: str, peer: str) -> bool:
    """Remove this node's constraint where all volumes are the same on both sides; tells whether none is left.

    The constraint is read before DRBD's state: one that comes later is another one, with another stamp.
    """
    end = env.clock.monotonic() + UNFENCE_S
    while True:
        with suppress(VmMgrError):
            view = env.constraints.look(resource, peer, "")
            if not view.allowed:
                return True
            if view.allowed != env.constraints.here():
                return False
            local = env.disks.read(resource, env.disks.minors(resource))
            if local.data is not Data.UP_TO_DATE or not local.peer_up_to_date:
                return False  # the end of the next resync asks again
            env.constraints.remove(resource, view.stamp)
            env.journal.say(f"DRBD resource {resource}: both sides are up to date, each may be promoted")
        if env.clock.monotonic() >= end:
            env.journal.say(f"DRBD resource {resource}: its constraint could not be removed", warning=True)
            return False
        env.clock.sleep(PAUSE_S)


def split_brain(env: PeerFenceEnv, resource: str, peer: str) -> None:
    """Record that both sides have written without each other."""
    detail = f"DRBD: {peer or 'its peer'} and this node have both written to {resource} without each other"
    _record(env, EventKind.SPLIT_BRAIN, resource, detail)


def _record(env: PeerFenceEnv, kind: EventKind, resource: str, detail: str) -> None:
    env.journal.record(Event(env.clock.utc(), kind, resource, env.constraints.here(), detail))

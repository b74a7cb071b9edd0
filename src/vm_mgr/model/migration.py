"""Decide how a live migration goes on: pure rules over samples of its job.

Rates are in bytes per second, times in seconds.
"""

from enum import StrEnum
from typing import NamedTuple
from urllib.parse import quote, unquote

__all__ = [
    "AS_ASKED",
    "MAX_PAUSE_S",
    "PREEMPTED",
    "AbortReason",
    "Course",
    "Decision",
    "JobSample",
    "Limits",
    "OnTimeout",
    "Plan",
    "Step",
    "Strategy",
    "choose",
    "decide",
    "limits_within",
    "parse_terms",
    "render_terms",
]

MAX_PAUSE_S = 10.0
AS_ASKED = "as asked for"
# A guest that dirties less than this part of the bandwidth converges in a few rounds.
CONVERGES = 0.5
# What any network of a cluster carries while the real bandwidth is not known: 100 Mbit/s, well within.
SURELY_BPS = 10 << 20
# QEMU's first round sends all memory; what remains after it is what the guest dirties.
SECOND_ROUND = 2
# Left of the time for the last round, the switch to the target and the check of the outcome.
MARGIN_S = 2.0
# How the words begin that a recovery leaves in the journal and the event log.
PREEMPTED = "it gave way to a recovery"


class AbortReason(StrEnum):
    """Why a live migration was ended before its end; the event of the failure keeps it."""

    NONE = ""  # it failed by itself
    LATE = "late"
    PAUSE = "pause"  # the guest was paused for too long
    RECOVERY = "recovery"
    CANCELLED = "cancelled"

    @classmethod
    def of(cls, word: str) -> "AbortReason":
        """Read the word of an event; one of a newer vm-mgr is none.

        >>> AbortReason.of("late").name, AbortReason.of("moon").name
        ('LATE', 'NONE')
        """
        return cls(word) if word in set(cls) else cls.NONE


class Strategy(StrEnum):
    """How a guest that dirties its memory is dealt with."""

    AUTO = "auto"
    PRECOPY = "precopy"
    AUTO_CONVERGE = "auto-converge"
    POSTCOPY = "postcopy"


class OnTimeout(StrEnum):
    """What is done with a migration that is late."""

    PAUSE = "pause"
    ABORT = "abort"


class Step(StrEnum):
    """What to do now."""

    GO_ON = "go on"
    PAUSE = "pause"
    POSTCOPY = "postcopy"
    ABORT = "abort"


class Plan(NamedTuple):
    """A strategy that can be carried out, and why it is this one.

    pause_early: pause the guest once it is seen that it does not converge and what remains is short to send.
    """

    strategy: Strategy = Strategy.PRECOPY
    pause_early: bool = False
    reason: str = AS_ASKED


class Limits(NamedTuple):
    """When a migration is late, what then, when it is over; max_pause_s None is as long as it takes."""

    timeout_s: float
    end_s: float
    on_timeout: OnTimeout = OnTimeout.PAUSE
    max_pause_s: float | None = MAX_PAUSE_S


class JobSample(NamedTuple):
    """One look at a migration under way; iteration counts its rounds over the memory, from 1 on."""

    elapsed_s: float = 0.0
    processed_bytes: int = 0
    remaining_bytes: int = 0
    total_bytes: int = 0
    rate_bps: float = 0.0
    dirty_bps: float = 0.0
    iteration: int = 0
    throttle_percent: int = 0
    paused: bool = False

    @property
    def pause_s(self) -> float | None:
        """Estimate how long the guest would stand if it were paused now; None where nobody knows.

        In the first round QEMU does not say what has changed since it was sent, so it may be longer: then the
        longest pause is the end of it.
        """
        return self.remaining_bytes / self.rate_bps if self.rate_bps > 0 else None

    @property
    def left_s(self) -> float | None:
        """Estimate when it ends; None where nobody knows or it does not converge.

        >>> JobSample(remaining_bytes=300, rate_bps=40, dirty_bps=10).left_s
        10.0
        """
        dirty = 0.0 if self.paused else self.dirty_bps
        gain = self.rate_bps - dirty
        return self.remaining_bytes / gain if gain > 0 else None

    @property
    def converges(self) -> bool:
        """Tell whether the guest changes little enough.

        >>> JobSample(rate_bps=40, dirty_bps=10).converges, JobSample(rate_bps=40, dirty_bps=20).converges
        (True, False)
        """
        return self.dirty_bps < CONVERGES * self.rate_bps


class Course(NamedTuple):
    """What was done so far: when the guest was paused to finish, whether it runs at the target already."""

    paused_at_s: float | None = None
    postcopy: bool = False


class Decision(NamedTuple):
    """What to do now, and why: in words, and of an abort as a kind."""

    step: Step
    reason: str = ""
    why: AbortReason = AbortReason.NONE


def limits_within(
    end_s: float,
    *,
    timeout_s: float | None = None,
    on_timeout: OnTimeout = OnTimeout.PAUSE,
    max_pause_s: float | None = MAX_PAUSE_S,
) -> Limits:
    """Fit the wishes into the time that there is, so that what follows a timeout has time too.

    >>> limits_within(110).timeout_s, limits_within(110, timeout_s=20).timeout_s, limits_within(10).timeout_s
    (98.0, 20, 5.0)
    """
    reserve_s = 0.0
    if on_timeout is OnTimeout.PAUSE:
        reserve_s = end_s / 2 if max_pause_s is None else max_pause_s
    latest_s = max(end_s - reserve_s - MARGIN_S, end_s / 2)
    return Limits(min(timeout_s or latest_s, latest_s), end_s, on_timeout, max_pause_s)


def choose(dirty_bps: float | None, bandwidth_bps: float | None, memory_bytes: int, limits: Limits) -> Plan:
    """Pick for `auto`: by what the guest dirties and what the network carries, as far as both are known."""
    if dirty_bps is None:
        return Plan(Strategy.AUTO_CONVERGE, reason="the guest's dirty rate can't be measured here")
    bandwidth = bandwidth_bps or SURELY_BPS
    least = "" if bandwidth_bps else "at least "
    rates = f"the guest changes {_rate(dirty_bps)}, the link carries {least}{_rate(bandwidth)}"
    if dirty_bps < CONVERGES * bandwidth:
        return Plan(Strategy.PRECOPY, reason=f"{rates}: it converges by itself")
    whole_s = memory_bytes / bandwidth
    short = limits.max_pause_s is None or whole_s <= limits.max_pause_s / 2
    if bandwidth_bps and memory_bytes and short and limits.on_timeout is OnTimeout.PAUSE:
        reason = f"{rates}: it never converges, and all of its memory takes {whole_s:.1f} s"
        return Plan(Strategy.PRECOPY, pause_early=True, reason=f"{reason}, so it is paused to finish")
    # Of an unknown bandwidth the job's own rates tell on the way.
    learns = not bandwidth_bps and limits.on_timeout is OnTimeout.PAUSE
    reason = f"{rates}: its processors are slowed down if need be"
    return Plan(Strategy.AUTO_CONVERGE, pause_early=learns, reason=reason)


def decide(plan: Plan, limits: Limits, sample: JobSample, course: Course) -> Decision:
    """Say what is to be done after a look; after the switch to post-copy nothing can be taken back."""
    if course.postcopy:
        return Decision(Step.GO_ON)
    over = _when_over(limits, sample, course)
    if over is not None or course.paused_at_s is not None:
        return over or Decision(Step.GO_ON)
    late = sample.elapsed_s > limits.timeout_s
    if plan.strategy is Strategy.POSTCOPY and (late or sample.iteration >= SECOND_ROUND):
        return Decision(Step.POSTCOPY, "all memory was sent once; what changed since is fetched from here")
    if plan.pause_early and _never_converges(sample) and _fits(limits, sample.pause_s):
        return Decision(Step.PAUSE, f"the guest is paused to finish: {_progress(sample)}")
    return _when_late(limits, sample) if late else Decision(Step.GO_ON)


def _when_over(limits: Limits, sample: JobSample, course: Course) -> Decision | None:
    """End what can't go on at all; mostly nothing."""
    if sample.elapsed_s > limits.end_s:
        still = ", even with the guest paused" if course.paused_at_s is not None else ""
        return Decision(Step.ABORT, f"it did not end within {limits.end_s:.0f} s{still}", AbortReason.LATE)
    stood_s = 0.0 if course.paused_at_s is None else sample.elapsed_s - course.paused_at_s
    if limits.max_pause_s is not None and stood_s > limits.max_pause_s:
        words = f"the guest was paused to finish, for {stood_s:.0f} s"
        longest = f"the longest pause is {limits.max_pause_s:.0f} s"
        return Decision(Step.ABORT, f"{words}; {longest}", AbortReason.PAUSE)
    return None


def _when_late(limits: Limits, sample: JobSample) -> Decision:
    late = f"it did not end within {limits.timeout_s:.0f} s ({_progress(sample)})"
    if limits.on_timeout is OnTimeout.ABORT:
        return Decision(Step.ABORT, late, AbortReason.LATE)
    if _fits(limits, sample.pause_s):
        return Decision(Step.PAUSE, f"{late}: the guest is paused to finish")
    if sample.pause_s is None:
        return Decision(Step.ABORT, f"{late}, and nothing is known of its rate", AbortReason.LATE)
    pause = f"a pause would take about {sample.pause_s:.0f} s"
    return Decision(Step.ABORT, f"{late}, and {pause}", AbortReason.LATE)


def _never_converges(sample: JobSample) -> bool:
    """Judge by the job's rates, once all memory was sent: before, what remains says nothing."""
    return sample.iteration >= SECOND_ROUND and sample.dirty_bps >= CONVERGES * sample.rate_bps > 0


def _fits(limits: Limits, pause_s: float | None) -> bool:
    """Tell whether a pause may be begun: estimates are wrong by a factor of two at times."""
    if limits.max_pause_s is None:
        return True
    return pause_s is not None and pause_s <= limits.max_pause_s / 2


def _progress(sample: JobSample) -> str:
    rates = f"at {_rate(sample.rate_bps)}, while the guest dirties {_rate(sample.dirty_bps)}"
    return f"{sample.remaining_bytes / (1 << 20):.0f} MiB remain {rates}"


def _rate(bps: float) -> str:
    return f"{bps / (1 << 20):.0f} MiB/s"


def render_terms(terms: dict[str, str]) -> str:
    """Write what a single move wants differently, for the agent: words, also of a sentence.

    >>> render_terms({"strategy": "precopy", "bandwidth": "8", "reason": "it is idle"})
    'strategy=precopy bandwidth=8 reason=it%20is%20idle'
    """
    return " ".join(f"{key}={quote(value)}" for key, value in terms.items())


def parse_terms(text: str) -> dict[str, str]:
    """Read it again.

    >>> parse_terms("strategy=precopy bandwidth=8 reason=it%20is%20idle")
    {'strategy': 'precopy', 'bandwidth': '8', 'reason': 'it is idle'}
    """
    return {key: unquote(value) for key, _, value in (word.partition("=") for word in text.split())}

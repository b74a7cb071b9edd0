"""How a live migration goes on: the rules, without libvirt."""

import pytest

from vm_mgr.model.migration import (
    Course,
    JobSample,
    Limits,
    OnTimeout,
    Plan,
    Step,
    Strategy,
    choose,
    decide,
    limits_within,
)

MIB = 1 << 20
LIMITS = Limits(60, 110)


def sample(elapsed_s, remaining=100, rate=10, dirty=0, iteration=1):
    return JobSample(elapsed_s, 0, remaining * MIB, 500 * MIB, rate * MIB, dirty * MIB, iteration)


@pytest.mark.parametrize(
    ("dirty", "bandwidth", "memory", "strategy", "pauses"),
    [
        (1, 100, 4096, Strategy.PRECOPY, False),
        (90, 100, 4096, Strategy.AUTO_CONVERGE, False),
        (90, 100, 256, Strategy.PRECOPY, True),
        (1, None, 256, Strategy.PRECOPY, False),
        (90, None, 256, Strategy.AUTO_CONVERGE, True),
        (None, 100, 256, Strategy.AUTO_CONVERGE, False),
    ],
)
def test_auto_picks_by_what_the_guest_dirties(dirty, bandwidth, memory, strategy, pauses):
    rates = [None if one is None else one * MIB for one in (dirty, bandwidth)]
    plan = choose(*rates, memory * MIB, LIMITS)
    assert (plan.strategy, plan.pause_early) == (strategy, pauses)
    assert plan.reason


def test_auto_never_pauses_early_where_the_guest_is_not_to_be_paused():
    plan = choose(90 * MIB, 100 * MIB, 256 * MIB, LIMITS._replace(on_timeout=OnTimeout.ABORT))
    assert (plan.strategy, plan.pause_early) == (Strategy.AUTO_CONVERGE, False)


@pytest.mark.parametrize(
    ("limits", "seen", "step"),
    [
        (LIMITS, sample(10), Step.GO_ON),
        (LIMITS, sample(61, remaining=40), Step.PAUSE),
        (LIMITS, sample(61, remaining=60), Step.ABORT),  # 6 s are more than half of the longest pause
        (LIMITS, sample(61, rate=0), Step.ABORT),
        (LIMITS._replace(max_pause_s=None), sample(61, remaining=6000), Step.PAUSE),
        (LIMITS._replace(max_pause_s=None), sample(61, rate=0), Step.PAUSE),
        (LIMITS._replace(on_timeout=OnTimeout.ABORT), sample(61, remaining=1), Step.ABORT),
    ],
)
def test_late_migration_is_finished_by_a_pause_that_is_short_or_aborted(limits, seen, step):
    decision = decide(Plan(), limits, seen, Course())
    assert decision.step is step
    assert bool(decision.reason) == (step is not Step.GO_ON)


def test_pause_has_an_end():
    paused = Course(paused_at_s=60)
    assert decide(Plan(), LIMITS, sample(69), paused).step is Step.GO_ON
    assert decide(Plan(), LIMITS, sample(71), paused).step is Step.ABORT
    for_ever = LIMITS._replace(max_pause_s=None)
    assert decide(Plan(), for_ever, sample(109), paused).step is Step.GO_ON
    assert decide(Plan(), for_ever, sample(111), paused).step is Step.ABORT


def test_early_pause_waits_until_it_is_seen_that_nothing_converges():
    plan = Plan(pause_early=True)
    assert decide(plan, LIMITS, sample(5, 10, dirty=9), Course()).step is Step.GO_ON
    assert decide(plan, LIMITS, sample(5, 90, dirty=9, iteration=2), Course()).step is Step.GO_ON
    assert decide(plan, LIMITS, sample(5, 10, dirty=2, iteration=2), Course()).step is Step.GO_ON
    assert decide(plan, LIMITS, sample(5, 10, dirty=9, iteration=2), Course()).step is Step.PAUSE


def test_postcopy_switches_after_the_first_round_or_when_late_and_never_turns_back():
    plan = Plan(Strategy.POSTCOPY)
    assert decide(plan, LIMITS, sample(5), Course()).step is Step.GO_ON
    assert decide(plan, LIMITS, sample(5, iteration=2), Course()).step is Step.POSTCOPY
    assert decide(plan, LIMITS, sample(61), Course()).step is Step.POSTCOPY
    assert decide(plan, LIMITS, sample(500), Course(postcopy=True)).step is Step.GO_ON


def test_only_asked_for_post_copy_is_post_copy():
    for seen in (sample(5, iteration=9), sample(500)):
        for plan in (Plan(), Plan(Strategy.AUTO_CONVERGE), Plan(pause_early=True)):
            assert decide(plan, LIMITS, seen, Course()).step is not Step.POSTCOPY


def test_time_for_a_pause_is_kept():
    assert limits_within(60).timeout_s == 48
    assert limits_within(60, timeout_s=500).timeout_s == 48
    assert limits_within(60, timeout_s=5).timeout_s == 5
    assert limits_within(60, on_timeout=OnTimeout.ABORT).timeout_s == 58
    assert limits_within(60, max_pause_s=None).timeout_s == 30


def test_end_is_expected_where_it_converges():
    assert sample(1, remaining=100, rate=30, dirty=10).left_s == 5
    assert sample(1, remaining=100, rate=10, dirty=10).left_s is None
    assert sample(1, remaining=100, rate=10, dirty=10)._replace(paused=True).left_s == 10

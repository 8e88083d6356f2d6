"""What was made is passed on after so many steps or so much time, whichever is first."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.inference.worker.cadence import MOST_SECONDS, SECONDS, STEPS, Cadence, seconds


def passed_on(steps: list[float], running: int = 1) -> list[float]:
    """At which of these times."""
    cadence, times = Cadence(), list[float]()
    for now in steps:
        if cadence.step(now, running):
            cadence.passed(now)
            times.append(now)
    return times


def test_quick_steps_are_counted() -> None:
    steps = [100 + 0.01 * n for n in range(1 + 3 * STEPS)]
    assert passed_on(steps) == steps[::STEPS]  # what was made after a long silence goes at once


def test_with_slow_steps_nothing_waits_for_one_that_would_come_too_late() -> None:
    steps = [100 + 0.06 * n for n in range(10)]
    assert passed_on(steps) == steps[::3]  # a fourth would be over after 240 ms


def test_where_no_step_comes_the_time_alone_decides() -> None:
    cadence = Cadence()
    cadence.passed(100.0)
    assert not cadence.due(100.0 + SECONDS / 2, running=1)
    assert cadence.due(100.0 + SECONDS, running=1)


def test_many_requests_move_less_often_but_no_more_than_twice() -> None:
    assert [seconds(running) for running in (0, 1, 32)] == [SECONDS] * 3
    assert SECONDS < seconds(48) < MOST_SECONDS == seconds(64) == seconds(1000) == 2 * SECONDS


@given(st.lists(st.floats(0.001, 0.5), min_size=1, max_size=200), st.integers(0, 100))
def test_nothing_waits_longer_than_it_may(gaps: list[float], running: int) -> None:
    """Fails if `step` does not look ahead: a step of 150 ms behind one of 150 ms would end after 300. What nobody can
    foresee is a step that takes longer than the one before it."""
    steps = [100.0]
    for gap in gaps:
        steps.append(steps[-1] + gap)
    times = passed_on(steps, running)
    for here, then in pairwise(times):
        among = [step for step in steps if here <= step <= then]
        assert len(among) - 1 <= STEPS
        waited = among[-1] - among[0]
        unforeseen = max((b - a for a, b in pairwise(among)), default=0.0)
        assert waited < seconds(running) + unforeseen

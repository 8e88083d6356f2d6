"""When a call is tried again, and after how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strongroom.client import OFF, CallFailed, Exhausted, InternalFailure, Retry, Unavailable
from strongroom.retry import NEVER_SENT, Attempts, nothing_goes_on

SECONDS = st.floats(0, 100)


def asking_back_in(seconds: float) -> Unavailable:
    return Unavailable("away", retry_after_seconds=seconds)


@given(asked=st.floats(0, 5), chance=st.floats(0, 1))
def test_nobody_comes_back_before_the_time_the_gateway_asked_for(asked: float, chance: float) -> None:
    pause = Retry().pause(1, asking_back_in(asked), 1000, chance)
    assert pause is not None and asked <= pause <= asked * 1.5


@given(asked=SECONDS, left=SECONDS, attempt=st.integers(1, 9), chance=st.floats(0, 1))
def test_no_pause_reaches_past_the_deadline_or_the_bounds(asked: float, left: float, attempt: int, chance: float):  # type: ignore[no-untyped-def]
    pause = Retry().pause(attempt, asking_back_in(asked), left, chance)
    if pause is not None:
        assert pause < left and asked <= 5 and attempt < 3


@given(attempt=st.integers(1, 60), chance=st.floats(0, 1))
def test_pauses_grow_up_to_the_longest(attempt: int, chance: float) -> None:
    retry = Retry(attempts=100)
    pause = retry.pause(attempt, Unavailable("away"), 1000, chance)
    assert pause is not None and 0.5 * min(0.2 * 2 ** (attempt - 1), 5) <= pause <= 5


@pytest.mark.parametrize("failure", [Exhausted("full", retry_after_seconds=0), InternalFailure("x"), CallFailed("y")])
def test_only_unavailable_is_tried_again(failure: CallFailed) -> None:
    assert Retry().pause(1, failure, 1000, 0.5) is None
    assert OFF.pause(1, Unavailable("away", retry_after_seconds=0), 1000, 0.5) is None


def test_attempts_share_one_deadline_and_the_failure_that_ends_them_is_raised() -> None:
    now = [0.0]
    attempts = Attempts(Retry(attempts=9), 10, clock=lambda: now[0], chance=lambda: 0.0)
    assert attempts.pause_after(asking_back_in(4), safe=True) == 4
    now[0] = 4.0
    assert attempts.left() == 6 and attempts.pause_after(asking_back_in(4), safe=True) == 4
    now[0] = 8.0
    with pytest.raises(Unavailable):
        attempts.pause_after(asking_back_in(4), safe=True)
    with pytest.raises(Unavailable):
        attempts.pause_after(asking_back_in(0), safe=False)
    now[0] = 20.0
    assert attempts.left() == 0


def test_what_was_never_sent_or_is_named_a_time_goes_on_nowhere() -> None:
    assert nothing_goes_on(Unavailable(f"{NEVER_SENT}; last error: refused"))
    assert nothing_goes_on(asking_back_in(1))
    assert not nothing_goes_on(Unavailable("Socket closed"))


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"first_pause_seconds": -1}, {"longest_pause_seconds": 0.1}])
def test_a_retry_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Retry(**wrong)  # type: ignore[arg-type]

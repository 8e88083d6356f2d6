"""Permits to replay a record: short-lived, few, and spent by a judgement."""

from __future__ import annotations

from itertools import count

import pytest

from chassis.identity import Principal
from services.audit.replays.permits import MOST, VALID_SECONDS, Permits

AUDITOR = Principal("person", "auditor", "bank", frozenset({"auditor"}))


@pytest.fixture
def clock() -> list[float]:
    return [1_000.0]


@pytest.fixture
def permits(clock) -> Permits:
    numbers = count()
    return Permits(lambda: clock[0], lambda: f"permit-{next(numbers)}")


def test_a_permit_is_good_until_its_time_is_over_or_it_is_spent(permits, clock) -> None:
    """Fails if `find` does not look at the clock, or `spend` forgets it."""
    first, second = (permits.give("r1", AUDITOR, "case 7") for _ in range(2))
    assert permits.find(first.token) is first and permits.find("permit-9") is None
    permits.spend(first)
    assert permits.find(first.token) is None and permits.find(second.token) is second
    clock[0] += VALID_SECONDS
    assert permits.find(second.token) is None


def test_of_more_than_are_kept_the_oldest_goes(permits) -> None:
    given = [permits.give(f"r{number}", AUDITOR, "case 7") for number in range(MOST + 1)]
    assert permits.find(given[0].token) is None and permits.find(given[1].token) is given[1]


def test_a_token_cannot_be_guessed() -> None:
    tokens = {Permits().give("r1", AUDITOR, "case 7").token for _ in range(100)}
    assert len(tokens) == 100 and min(map(len, tokens)) >= 43, "256 bits each"

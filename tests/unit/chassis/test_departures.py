"""What is full tells when there will probably be room, from how fast it was seen to empty."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.departures import (
    GRAIN_SECONDS,
    LONGEST_SECONDS,
    SHORTEST_SECONDS,
    UNKNOWN_SECONDS,
    WINDOW_SECONDS,
    Departures,
    Places,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Place:
    """Departures on a clock of our own."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.departures = Departures(self.clock)
        self.total = 0
        self.departures.note(0, True)

    def passes(self, seconds: float, left: int, pressed: bool = True) -> None:
        self.clock.now += seconds
        self.total += left
        self.departures.note(self.total, pressed)

    def told(self, over: int = 1) -> float:
        return self.departures.seconds_until_room(over)


def test_nothing_measured_yet_tells_the_default() -> None:
    place = Place()
    assert place.told() == UNKNOWN_SECONDS
    place.passes(GRAIN_SECONDS / 2, 3)
    assert place.told() == UNKNOWN_SECONDS


def test_the_measured_rate_tells_when_the_next_place_is_free_and_one_more() -> None:
    place = Place()
    for _ in range(10):
        place.passes(1, 4)
    assert place.told() == pytest.approx(2 / 4)


def test_many_who_are_refused_are_told_places_one_behind_the_other_up_to_the_longest() -> None:
    place = Place()
    place.passes(10, 40)
    told = [place.told() for _ in range(500)]
    assert told[:4] == pytest.approx([0.5, 0.75, 1.0, 1.25])
    assert told == sorted(told) and told[-1] == LONGEST_SECONDS
    place.clock.now += LONGEST_SECONDS  # all have had their place
    assert place.told() == pytest.approx(0.5)


def test_an_overfull_place_first_has_to_come_down_to_its_bound() -> None:
    place = Place()
    place.passes(10, 10)
    assert place.told(over=5) == pytest.approx(6)


def test_where_nobody_leaves_it_takes_as_long_again_up_to_the_longest() -> None:
    place = Place()
    place.passes(5, 0)
    assert place.told() == 5
    place.passes(100, 0)
    assert place.told() == LONGEST_SECONDS


def test_a_time_without_pressure_says_nothing_about_a_full_place() -> None:
    """Fails if `Departures.note` counts every time: an idle hour would make a busy minute look slow."""
    place = Place()
    place.passes(10, 100)
    place.passes(1, 10, pressed=False)
    for _ in range(3600):
        place.passes(1, 0, pressed=False)
    place.passes(1, 0, pressed=True)
    assert place.told() == pytest.approx(2 / 10)


def test_the_rate_of_before_is_forgotten_after_a_window_under_pressure() -> None:
    place = Place()
    place.passes(20, 2000)
    for _ in range(int(WINDOW_SECONDS)):
        place.passes(1, 1)
    assert place.told() == pytest.approx(2)


def test_who_counts_anew_after_a_restart_is_not_taken_for_departures() -> None:
    place = Place()
    place.passes(10, 20)
    place.total = -50
    place.passes(1, 50)
    place.passes(1, 2)
    assert place.told() == pytest.approx(2 / 2)


def test_places_are_bounded_and_measured_as_they_are_left() -> None:
    clock = Clock()
    places = Places(3, clock)
    assert [places.take() for _ in range(4)] == [True, True, True, False]
    for _ in range(10):
        clock.now += 1
        places.leave()
        assert places.take()
    assert not places.take() and places.taken == 3
    assert places.seconds_until_room() == pytest.approx(2, abs=0.3)


def test_waves_are_measured_while_they_last_and_the_calm_between_them_is_not() -> None:
    """Fails if `Places.take` does not note what was so until now."""
    clock = Clock()
    places = Places(4, clock)
    for _ in range(10):
        for _ in range(4):
            places.take()
        for _ in range(4):
            clock.now += 0.2
            places.leave()
        clock.now += 60
    for _ in range(4):
        places.take()
    assert places.seconds_until_room() == pytest.approx(2 * 0.2, abs=0.1)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 1000), st.booleans()), max_size=80), st.integers(1, 10**6))
def test_what_is_told_stays_between_its_bounds_and_the_memory_is_bounded(
    passed: Iterable[tuple[float, int, bool]], over: int
) -> None:
    place = Place()
    for seconds, left, pressed in passed:
        place.passes(seconds, left, pressed)
        assert SHORTEST_SECONDS <= place.told(over) <= LONGEST_SECONDS
    assert len(place.departures._samples) <= WINDOW_SECONDS / GRAIN_SECONDS + 1


@pytest.mark.parametrize("refused", [1, 5, 20])
def test_who_comes_back_as_told_finds_room(refused: int) -> None:
    """At a steady rate, nobody new coming: each one's second try is its last. Fails if all are told the first place."""
    place = Place()
    place.passes(10, 50)  # one each 0.2 s
    full = bound = 8
    began = place.clock.now
    back = sorted(began + place.told() for _ in range(refused))
    gone = 0
    for when in back:
        leaves = int((when - began) / 0.2)
        full, gone = full - (leaves - gone), leaves
        assert full < bound
        full += 1

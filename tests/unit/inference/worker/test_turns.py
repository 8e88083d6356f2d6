"""Classes take turns by weight, those that have waited long rise, and none waits for ever."""

from __future__ import annotations

import random
from collections import Counter, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.worker.turns import PATIENCE_SECONDS, WEIGHTS, Turns

CLASSES = st.sets(st.sampled_from(sorted(WEIGHTS)), min_size=1)
AGES = st.dictionaries(st.sampled_from(sorted(WEIGHTS)), st.floats(0, 1e6))
EACH_GETS_ONE_IN = 3 * sum(WEIGHTS.values())  # turns, whatever ages and company


def counted(turns: Turns, count: int, among: set[str]) -> Counter[str]:
    """One at a time, as slots become free."""
    return Counter(name for _ in range(count) for name in turns.share(1, among))


def test_twelve_turns_of_busy_classes_follow_the_weights() -> None:
    assert Turns().share(12, set(WEIGHTS)) == {"interactive": 8, "standard": 3, "batch": 1}


def test_one_turn_at_a_time_gives_the_same_and_starts_with_the_urgent() -> None:
    turns = Turns()
    order = [name for _ in range(12) for name in turns.share(1, set(WEIGHTS))]
    assert order[0] == "interactive"
    assert {name: order.count(name) for name in WEIGHTS} == dict(WEIGHTS)


@given(st.fixed_dictionaries({name: st.floats(0, PATIENCE_SECONDS[name]) for name in WEIGHTS}))
def test_while_all_are_young_ages_change_nothing(waited: dict[str, float]) -> None:
    turns = Turns()
    turns.note(waited)
    assert counted(turns, 12, set(WEIGHTS)) == WEIGHTS


def test_a_class_that_waits_rises_with_its_age_up_to_the_most_urgent() -> None:
    turns = Turns()
    for seconds, weight in ((0, 1), (30, 1), (60, 2), (120, 4), (240, 8), (100_000, 8)):
        turns.note({"batch": seconds})
        assert turns.weight("batch") == weight, seconds
    turns.note({"batch": 100_000})
    assert counted(turns, 24, {"interactive", "batch"}) == {"interactive": 12, "batch": 12}
    turns.note({})
    assert turns.weight("batch") == 1


@given(AGES)
def test_what_is_urgent_keeps_a_third_whatever_waits_beside_it(waited: dict[str, float]) -> None:
    """Fails if `Turns.weight` has no upper bound."""
    turns = Turns()
    turns.note(waited)
    assert counted(turns, 24, set(WEIGHTS))["interactive"] >= 7


@given(st.integers(0, 40), CLASSES, AGES)
def test_every_turn_is_given_and_only_to_classes_that_were_named(
    count: int, among: set[str], waited: dict[str, float]
) -> None:
    turns = Turns()
    turns.note(waited)
    shares = turns.share(count, among)
    assert sum(shares.values()) == count
    assert set(shares) <= among


@given(st.sampled_from(sorted(WEIGHTS)), st.lists(st.tuples(st.integers(1, 5), CLASSES, AGES), max_size=30), AGES)
def test_no_class_that_stays_busy_starves(
    name: str, history: list[tuple[int, set[str], dict[str, float]]], waited: dict[str, float]
) -> None:
    turns = Turns()
    for count, among, ages in history:
        turns.note(ages)
        turns.share(count, among | {name})
    turns.note(waited)
    assert name in turns.share(EACH_GETS_ONE_IN, set(WEIGHTS))


class Together:
    """Workers of one model, each with turns of its own, at the same queues. The clock is a turn a second."""

    def __init__(self, workers: int, seed: int) -> None:
        self._turns = [Turns() for _ in range(workers)]
        self._chance = random.Random(seed)
        self.queues: dict[str, deque[int]] = {name: deque() for name in WEIGHTS}
        self.now = 0
        self.waits: dict[str, list[int]] = {name: [] for name in WEIGHTS}

    def turn(self) -> None:
        """Any of them has a free slot. A class found empty passes the turn on, as `Intake._ready` does."""
        self.now += 1
        turns = self._chance.choice(self._turns)
        turns.note({name: float(self.now - queue[0]) for name, queue in self.queues.items() if queue})
        among = set(WEIGHTS)
        while among:
            [name] = turns.share(1, among)
            if queue := self.queues[name]:
                self.waits[name].append(self.now - queue.popleft())
                return
            among.discard(name)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(WEIGHTS)), st.integers(1, 8), st.integers(0, 20), st.integers(0, 10**6))
def test_several_workers_together_let_no_job_wait_without_bound(name: str, workers: int, ahead: int, seed: int) -> None:
    """Fails if `Turns._next` always takes the class with the highest weight."""
    together = Together(workers, seed)
    together.queues[name].extend([0] * (ahead + 1))
    bound = (ahead + workers) * EACH_GETS_ONE_IN
    while together.queues[name]:
        for other in set(WEIGHTS) - {name}:  # others never run dry
            together.queues[other].extend([together.now] * 2)
        together.turn()
        assert together.now <= bound


@pytest.mark.parametrize("workers", [1, 5])
def test_a_class_within_its_third_is_served_soon_under_any_load_of_the_others(workers: int) -> None:
    """One batch job in four turns, beside floods of the other two: with weights alone it would get one in twelve."""
    together = Together(workers, seed=7)
    for second in range(4_000):
        for other in ("interactive", "standard"):
            together.queues[other].append(together.now)
        if second % 4 == 0:
            together.queues["batch"].append(together.now)
        together.turn()
    waits = together.waits["batch"]
    assert len(waits) > 900 and max(waits) < 8 * PATIENCE_SECONDS["batch"]


def test_no_class_no_turns() -> None:
    assert Turns().share(5, set()) == {}

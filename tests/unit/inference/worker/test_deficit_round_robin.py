"""Buckets that wait share tokens, not jobs: whatever arrives, whatever jobs cost."""

from __future__ import annotations

import random
from collections import Counter, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.worker.deficit_round_robin import DeficitRoundRobin

BUCKETS = 6
COSTS = st.integers(1, 3_000)
QUANTA = st.integers(1, 2_000)
ARRIVALS = st.lists(st.tuples(st.integers(0, BUCKETS - 1), COSTS), max_size=12)


def heads_of(queues: dict[int, deque[int]]) -> dict[int, int]:
    return {bucket: queue[0] for bucket, queue in queues.items() if queue}


@settings(deadline=None)
@given(QUANTA, st.integers(2, BUCKETS), st.integers(0, 10**6))
def test_no_bucket_that_keeps_waiting_is_ever_more_than_a_quantum_and_a_job_ahead(
    quantum: int, buckets: int, seed: int
) -> None:
    """Fails if `_pass_on` gives a bucket that is passed by nothing, or `next` takes jobs for their number."""
    ring, chance = DeficitRoundRobin(quantum), random.Random(seed)
    sizes = [chance.choice((10, 300, 3_000)) for _ in range(buckets)]  # a tenant's jobs are alike
    heads = {bucket: chance.randint(1, sizes[bucket]) for bucket in range(buckets)}
    spent, largest = Counter[int](), 0
    for _ in range(400):
        largest = max(largest, *heads.values())
        chosen = ring.next(heads)
        spent[chosen] += heads[chosen]
        heads[chosen] = chance.randint(1, sizes[chosen])
        each = [spent[bucket] for bucket in range(buckets)]
        assert max(each) - min(each) <= quantum + largest


@settings(deadline=None)
@given(QUANTA, st.lists(st.one_of(ARRIVALS, st.none()), max_size=60))
def test_whatever_arrives_a_bucket_that_waits_lets_another_have_only_so_many_tokens(
    quantum: int, events: list[list[tuple[int, int]] | None]
) -> None:
    """Fails if `_pass_on` begins at the lowest bucket every time."""
    ring = DeficitRoundRobin(quantum)
    queues: dict[int, deque[int]] = {bucket: deque() for bucket in range(BUCKETS)}
    others: dict[int, Counter[int]] = {}  # bucket that waits → what each other one had since its last turn
    for arrivals in [*events, *[None] * 200]:
        for bucket, cost in arrivals or ():
            queues[bucket].append(cost)
        heads = heads_of(queues)
        others = {bucket: others.get(bucket, Counter()) for bucket in heads}
        if arrivals is not None or not heads:
            continue
        chosen = ring.next(heads)
        others[chosen] = Counter()
        queues[chosen].popleft()
        for bucket in heads.keys() - {chosen}:
            others[bucket][chosen] += heads[chosen]
            rounds = -(-heads[bucket] // quantum) + 1
            assert others[bucket][chosen] <= rounds * quantum + 3_000


def test_the_order_is_known_to_the_step() -> None:
    ring = DeficitRoundRobin(quantum=100)
    queues = {0: deque([250, 60, 60]), 3: deque([50, 40, 40, 40]), 7: deque([100, 100])}
    order = []
    while heads := heads_of(queues):
        chosen = ring.next(heads)
        order.append((chosen, queues[chosen].popleft()))
    assert order == [
        (3, 50), (3, 40), (7, 100),  # one round; bucket 0 saves
        (3, 40), (3, 40), (7, 100),  # another
        (0, 250), (0, 60), (0, 60),  # the others are empty
    ]  # fmt: skip


def test_who_was_away_has_saved_nothing() -> None:
    """Fails if `next` keeps the credit of a bucket that does not wait."""
    ring = DeficitRoundRobin(quantum=100)
    assert [ring.next({0: 90, 1: 100}) for _ in range(4)] == [0, 1, 0, 1]
    ring.next({1: 100})  # bucket 0 is empty: the ten tokens that it had not spent twice are gone
    assert ring._credit == {1: 0}
    assert [ring.next({0: 105, 1: 100}) for _ in range(2)] == [1, 0]


def test_a_job_that_costs_a_thousand_quanta_goes_at_once_when_nobody_else_waits() -> None:
    ring = DeficitRoundRobin(quantum=1)
    assert ring.next({5: 1_000_000}) == 5
    assert ring.next({5: 1_000_000, 6: 1}) == 6


@pytest.mark.parametrize(("more", "order"), [(0, [0, 1, 0, 1]), (100, [1, 0, 1, 0]), (250, [1, 1, 1, 0])])
def test_what_a_job_cost_more_than_was_paid_is_paid_with_the_next_turns(more: int, order: list[int]) -> None:
    """Fails if `correct` does nothing."""
    ring = DeficitRoundRobin(quantum=100)
    heads = {0: 100, 1: 100}
    assert [ring.next(heads), ring.next(heads)] == [0, 1]
    ring.correct(0, -more)
    assert [ring.next(heads) for _ in range(4)] == order

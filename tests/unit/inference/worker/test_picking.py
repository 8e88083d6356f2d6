"""Classes take turns, buckets share within a class, and workers that race for the same jobs share all the same."""

from __future__ import annotations

import random
from collections import Counter, deque

from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.worker.deficit_round_robin import QUANTUM
from services.inference.worker.picking import Pick, Picking
from services.inference.worker.turns import WEIGHTS

COSTS = st.lists(st.integers(1, 5_000), max_size=5)
WAITING = st.dictionaries(
    st.sampled_from(sorted(WEIGHTS)), st.dictionaries(st.integers(0, 15), COSTS, max_size=5), max_size=3
)


@given(WAITING, st.integers(0, 20))
def test_as_many_as_are_asked_for_are_picked_each_bucket_in_its_order(
    waiting: dict[str, dict[int, list[int]]], count: int
) -> None:
    picked = Picking().pick(waiting, count)
    there = sum(len(costs) for buckets in waiting.values() for costs in buckets.values())
    assert len(picked) == min(count, there)
    for priority, buckets in waiting.items():
        for bucket, costs in buckets.items():
            mine = [pick.cost for pick in picked if (pick.priority, pick.bucket) == (priority, bucket)]
            assert mine == costs[: len(mine)]


def test_classes_have_their_turns_whatever_their_buckets() -> None:
    waiting = {"interactive": {0: [9] * 12}, "standard": {b: [9] * 12 for b in range(16)}, "batch": {1: [9] * 12}}
    assert Counter(pick.priority for pick in Picking().pick(waiting, 12)) == WEIGHTS


def test_a_flood_of_heavy_jobs_lets_a_light_one_go_next() -> None:
    picking = Picking()
    flood = {"interactive": {3: [4_000] * 8}}
    picking.pick(flood, 5)
    assert picking.pick({"interactive": {3: [4_000], 9: [200]}}, 1) == [Pick("interactive", 9, 200)]


class Together:
    """Workers of one model at the same queues: what one looked at, another may have taken when it asks for it."""

    def __init__(self, workers: int, seed: int) -> None:
        self.chance = random.Random(seed)
        self.sizes = {bucket: self.chance.choice((20, 400, 2_000)) for bucket in range(4)}
        self.queues: dict[int, deque[int]] = {bucket: deque() for bucket in self.sizes}
        self.spent: Counter[int] = Counter()
        self._workers = [Picking() for _ in range(workers)]

    def round(self) -> None:
        """All look, then all ask, in any order."""
        asked = []
        for worker in self._workers:
            count = self.chance.randint(1, 3)
            asked.append((worker, worker.pick({"standard": self._heads(count)}, count)))
        self.chance.shuffle(asked)
        for worker, picks in asked:
            worker.settle(picks, [Pick("standard", pick.bucket, self._give(pick.bucket)) for pick in picks])

    def _heads(self, depth: int) -> dict[int, list[int]]:
        for bucket, size in self.sizes.items():  # none runs dry
            while len(self.queues[bucket]) < 40:
                self.queues[bucket].append(self.chance.randint(1, size))
        return {bucket: [queue[at] for at in range(depth)] for bucket, queue in self.queues.items()}

    def _give(self, bucket: int) -> int:
        cost = self.queues[bucket].popleft()
        self.spent[bucket] += cost
        return cost


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(0, 10**6))
def test_several_workers_together_give_every_bucket_its_share(workers: int, seed: int) -> None:
    """Fails if `settle` corrects nothing."""
    together = Together(workers, seed)
    for _ in range(300):
        together.round()
        # Each may owe, or be owed, what it asked for at once, and be a quantum and a job ahead.
        bound = workers * (QUANTUM + (1 + 2 * 3) * 2_000)
        assert max(together.spent.values()) - min(together.spent[bucket] for bucket in range(4)) <= bound


def test_what_another_worker_took_is_given_back() -> None:
    """Fails if `settle` looks at what was given only."""
    picking = Picking()
    waiting = {"batch": {0: [500], 1: [500]}}
    [lost] = picking.pick(waiting, 1)
    picking.settle([lost], [])
    assert picking.pick(waiting, 1) == [lost]

"""Which of the jobs that wait to claim: classes take turns, and within a class the buckets of tenants share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from services.inference.worker.deficit_round_robin import DeficitRoundRobin
from services.inference.worker.turns import WEIGHTS, Turns

Waiting = Mapping[str, Mapping[int, Sequence[int]]]  # class → bucket → costs of its first jobs, in order


class Pick(NamedTuple):
    """One job: the first of its bucket that nobody has been given."""

    priority: str
    bucket: int
    cost: int  # tokens


class Picking:
    """Of one worker. What it decides depends on nothing but what it is told."""

    def __init__(self) -> None:
        self._turns = Turns()
        self._rings = {priority: DeficitRoundRobin() for priority in WEIGHTS}

    def note(self, waited_seconds: Mapping[str, float]) -> None:
        """How long the oldest job of each class has waited."""
        self._turns.note(waited_seconds)

    def pick(self, waiting: Waiting, count: int) -> list[Pick]:
        """At most `count`. A bucket that has more than was told must be told with `count` costs at least."""
        left = {
            priority: {bucket: list(costs) for bucket, costs in buckets.items() if costs}
            for priority, buckets in waiting.items()
        }
        picked: list[Pick] = []
        while len(picked) < count and (busy := [priority for priority, buckets in left.items() if buckets]):
            [priority] = self._turns.share(1, busy)
            picked.append(self._pick_one(priority, left[priority]))
        return picked

    def settle(self, picked: Iterable[Pick], given: Iterable[Pick]) -> None:
        """Other workers take jobs between looking and asking: what was given may cost something else, or be less."""
        differences = Counter[tuple[str, int]]()
        for pick in picked:
            differences[pick.priority, pick.bucket] += pick.cost
        for pick in given:
            differences[pick.priority, pick.bucket] -= pick.cost
        for (priority, bucket), tokens in differences.items():
            self._rings[priority].correct(bucket, tokens)

    def _pick_one(self, priority: str, buckets: dict[int, list[int]]) -> Pick:
        bucket = self._rings[priority].next({bucket: costs[0] for bucket, costs in buckets.items()})
        cost = buckets[bucket].pop(0)
        if not buckets[bucket]:
            del buckets[bucket]
        return Pick(priority, bucket, cost)

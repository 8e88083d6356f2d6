"""Deficit round robin: whose job is next, so that all buckets that keep waiting get the same number of tokens."""

from __future__ import annotations

from collections.abc import Mapping

QUANTUM = 512  # tokens; about one usual job, so that a heavy one lets each of the others have a turn or several


class DeficitRoundRobin:
    """Of one class (Shreedhar and Varghese, 1995). Each time round, a bucket that waits is given a quantum of tokens,
    and its jobs go while it can pay for the next. What it cannot spend yet is kept, as long as it waits.

    Of buckets that wait all the time, none is ever more than a quantum and the largest job ahead of another.
    """

    def __init__(self, quantum: int = QUANTUM) -> None:
        self._quantum = quantum
        self._credit: dict[int, int] = {}  # of each bucket that waits
        self._turn = -1  # the bucket whose turn it is; they follow each other by number

    def next(self, heads: Mapping[int, int]) -> int:
        """`heads`: for every bucket that waits, what its first job costs, at least 1. The chosen one has paid."""
        self._credit = {bucket: self._credit.get(bucket, 0) for bucket in heads}
        if self._turn not in heads or self._credit[self._turn] < heads[self._turn]:
            self._pass_on(heads)
        self._credit[self._turn] -= heads[self._turn]
        return self._turn

    def correct(self, bucket: int, tokens: int) -> None:
        """Gives back what a job cost less than was paid for it; negative: what it cost more."""
        if bucket in self._credit:
            self._credit[bucket] += tokens

    def _pass_on(self, heads: Mapping[int, int]) -> None:
        """To the first that can pay; the rounds in which nobody can are gone through at once."""
        ring = sorted(heads, key=lambda bucket: (bucket <= self._turn, bucket))
        rounds = {bucket: max(-(-(heads[bucket] - self._credit[bucket]) // self._quantum), 1) for bucket in ring}
        fewest = min(rounds.values())
        self._turn = next(bucket for bucket in ring if rounds[bucket] == fewest)
        reached = ring.index(self._turn)
        for at, bucket in enumerate(ring):
            self._credit[bucket] += self._quantum * (fewest if at <= reached else fewest - 1)

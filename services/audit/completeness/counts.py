"""What the log and the workers counted of one gateway boot, and where they differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """Of a difference."""

    UNRECORDED_JOBS = "unrecorded_jobs"  # workers ran more jobs than the log accepted
    UNRECORDED_TOKENS = "unrecorded_tokens"  # of the same answers workers generated more tokens than their ENDs say
    UNCOUNTED_JOBS = "uncounted_jobs"  # the log holds answers that no worker has counted
    UNCOUNTED_TOKENS = "uncounted_tokens"  # and tokens
    MISSING_ENTRIES = "missing_entries"  # numbers of the boot's sequence that no entry of the log has


@dataclass(frozen=True, slots=True)
class Difference:
    """Open: more of it than somebody has explained."""

    boot: str
    kind: Kind
    count: int


class WorkerCount(NamedTuple):
    """One worker process's word, since it began. It never says less than before; what comes late is passed over."""

    jobs: int  # whose end it told the gateway
    finished: int  # of those, the ones that came to an end of their own
    tokens: int  # generated, of the finished ones

    def or_later(self, other: WorkerCount) -> WorkerCount:
        return WorkerCount(*map(max, self, other))


class Ended(NamedTuple):
    """Jobs of records that ended COMPLETED, and the tokens that their ENDs name."""

    jobs: int = 0
    tokens: int = 0


_NONE = Ended()


@dataclass(slots=True)
class BootCounts:
    """`settled` is what `ended` was long enough ago for every worker to have told of it."""

    accepted: int = 0  # jobs that ACCEPTED entries named: each of them may be run once
    ended: Ended = _NONE
    otherwise: int = 0  # jobs of records that ended in any other way: a worker may have finished them all the same
    missing: int = 0  # sequence numbers
    workers: dict[str, WorkerCount] = field(default_factory=dict)
    explained: dict[Kind, int] = field(default_factory=dict)
    settled: Ended = _NONE

    @property
    def open(self) -> int:
        return self.accepted - self.ended.jobs - self.otherwise

    @property
    def counted(self) -> WorkerCount:
        """By all workers together."""
        return WorkerCount(*(sum(each) for each in zip((0, 0, 0), *self.workers.values(), strict=True)))

    @property
    def quiet(self) -> bool:
        """Nothing is open, and nothing ended since what is settled."""
        return not self.open and self.settled == self.ended

    @property
    def in_order(self) -> bool:
        """Nothing more is to be said of it. What entries are missing is found again at each start."""
        return self.quiet and not self.missing and not self.unexplained()

    def found(self) -> dict[Kind, int]:
        """Every difference, explained or not. Only answers that the log calls COMPLETED can be held against finished
        jobs: of one that was cancelled or withheld a worker may have finished more than was ever asked for."""
        counted = self.counted
        found = {
            Kind.UNRECORDED_JOBS: counted.jobs - self.accepted,
            Kind.UNCOUNTED_JOBS: self.settled.jobs - counted.finished,
            Kind.UNCOUNTED_TOKENS: self.settled.tokens - counted.tokens,
            Kind.MISSING_ENTRIES: self.missing,
        }
        if self.quiet and counted.finished == self.ended.jobs:
            found[Kind.UNRECORDED_TOKENS] = counted.tokens - self.ended.tokens
        return {kind: count for kind, count in found.items() if count > 0}

    def unexplained(self) -> dict[Kind, int]:
        return {kind: count for kind, count in self.found().items() if count > self.explained.get(kind, 0)}

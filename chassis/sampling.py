"""Which requests are traced: all while few come, a share when many do, and a bounded number of those worth a look."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

BURST_SECONDS = 5.0  # what an allowance saves up while nobody draws on it
KEPT_A_SECOND = 5.0  # errors and slow requests: under overload everything is slow, and tracing must not add to it
_IDS = 1 << 64


class Allowance:
    """So many a second, and what was saved up for a burst."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = per_second, clock
        self._most = max(per_second * BURST_SECONDS, 1.0) if per_second > 0 else 0.0
        self._left, self._looked = self._most, clock()

    def take(self) -> bool:
        """True if one was left."""
        now = self._clock()
        self._left = min(self._left + (now - self._looked) * self._rate, self._most)
        self._looked = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracing:
    """How much is traced; decided once for each request, at the edge where it comes in."""

    share: float = 0.1  # of the requests above `all_below` a second
    all_below: float = 10.0  # requests a second that are traced whatever the share
    slow_seconds: float = 1.0  # to the first text; slower ones are kept, as those that failed are


class Sampler:
    """Decides by the trace's id, as W3C's random ids allow: every gateway comes to the same share."""

    def __init__(self, tracing: Tracing, clock: Callable[[], float] = time.monotonic) -> None:
        self._bound = int(tracing.share * _IDS)
        self.slow_seconds = tracing.slow_seconds
        self._few = Allowance(tracing.all_below, clock)
        self._kept = Allowance(KEPT_A_SECOND if tracing.share or tracing.all_below else 0.0, clock)

    def wants(self, trace_id: str) -> bool:
        """Whether this request is traced through all services."""
        return int(trace_id[16:], 16) < self._bound or self._few.take()

    def keeps(self) -> bool:
        """Whether one more that nobody chose, but that failed or was slow, is kept as far as this process saw it."""
        return self._kept.take()

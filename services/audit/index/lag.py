"""How long the index has been behind: since when the oldest entry that it lacks has been published."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

MOST_SEEN = 4_096


class Lag:
    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._seen: deque[tuple[int, float]] = deque()  # published leaves, and when that was first seen

    def seconds(self, published: int, indexed: int) -> float:
        """Call it now and again: what was published in between counts from then on. 0 where nothing is lacking."""
        now, seen = self._monotonic(), self._seen
        if not seen or published > seen[-1][0]:
            if len(seen) == MOST_SEEN:  # far behind: what is young counts as a little older, so that memory is bounded
                seen[-1] = published, seen[-1][1]
            else:
                seen.append((published, now))
        while seen and seen[0][0] <= indexed:
            seen.popleft()
        return now - seen[0][1] if seen else 0.0

"""How fast something full empties, so that whoever is refused hears when there will probably be room."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 30.0  # of time under pressure; the rate of an idle hour says nothing about a full one
GRAIN_SECONDS = 0.1  # bounds the samples kept
UNKNOWN_SECONDS = 1.0  # told while nothing is measured
SHORTEST_SECONDS, LONGEST_SECONDS = 0.1, 30.0


class Departures:
    """Those refused are told places one behind the other, so that they do not all come back for the first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque()  # seconds, how many left in them
        self._seconds, self._left = 0.0, 0  # sums of the samples
        self._last: tuple[float, int, bool] | None = None
        self._promised = 0.0  # the clock when the last place that was told becomes free

    def note(self, total: int, pressed: bool) -> None:
        """`total` have left so far. A time counts while places were wanted (`pressed`) at both its ends."""
        now = self._clock()
        if self._last is None:
            self._last = now, total, pressed
            return
        then, before, was_pressed = self._last
        if now - then < GRAIN_SECONDS and pressed == was_pressed:
            return
        self._last = now, total, pressed
        if pressed and was_pressed and total >= before:  # less: whoever counts has begun anew
            self._keep(now - then, total - before)

    def seconds_until_room(self, over: int = 1) -> float:
        """When a place will probably be free for one more, if `over` must leave before there is one at all."""
        if not self._left:  # as long again as nobody has left
            return min(max(UNKNOWN_SECONDS, self._seconds), LONGEST_SECONDS)
        now, each = self._clock(), self._seconds / self._left
        latest = max(self._promised, now + (over - 1) * each) + each
        self._promised = min(latest, now + LONGEST_SECONDS)
        # One more than needed: departures are not even, and a place told too early is one refusal more.
        return min(max(self._promised - now + each, SHORTEST_SECONDS), LONGEST_SECONDS)

    def _keep(self, seconds: float, left: int) -> None:
        self._samples.append((seconds, left))
        self._seconds += seconds
        self._left += left
        while self._seconds - self._samples[0][0] >= WINDOW_SECONDS:
            seconds, left = self._samples.popleft()
            self._seconds -= seconds
            self._left -= left


class Places:
    """A bounded number of places, refused at once when all are taken."""

    def __init__(self, bound: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.bound, self.taken = bound, 0
        self._left = 0
        self._departures = Departures(clock)

    def take(self, count: int = 1) -> bool:
        """False when there are not so many; `seconds_until_room` says when there will probably be."""
        self._note()
        if self.taken + count > self.bound:
            return False
        self.taken += count
        return True

    def leave(self, count: int = 1) -> None:
        self._left += count
        self._note()
        self.taken -= count
        assert self.taken >= 0, "a place was given back twice"

    def seconds_until_room(self, count: int = 1) -> float:
        return self._departures.seconds_until_room(max(self.taken + count - self.bound, 1))

    def _note(self) -> None:
        """Before every change: what was so until now."""
        self._departures.note(self._left, 2 * self.taken >= self.bound)

"""When what was made goes on its way: after every 8th step or 200 ms, for all requests of a worker together.

Together, because a release costs each process between the worker and the caller a message, whether one request moves
or sixty. The pieces in it cost by their number: where more than 32 requests run, the time grows, to 400 ms at 64, so
that they stay as many a second. The first tokens and an end wait for nobody (`Run.take`).
"""

from __future__ import annotations

STEPS = 8
SECONDS = 0.2
MOST_SECONDS = 0.4
PIECES_A_SECOND = 160


class Cadence:
    """Of one worker. `running`: how many requests a release would move now."""

    def __init__(self) -> None:
        self._steps = 0  # since what was made was passed on
        self._passed_at = self._stepped_at = 0.0

    def step(self, now: float, running: int) -> bool:
        """Counts a step; true when what was made is due, because of it or before the next one will be over."""
        self._steps += 1
        next_in, self._stepped_at = now - self._stepped_at, now  # it will probably take as long
        return self._steps >= STEPS or self.due(now + next_in, running)

    def due(self, now: float, running: int) -> bool:
        """Whether the time is over."""
        return now - self._passed_at >= seconds(running)

    def passed(self, now: float) -> None:
        """Everything is on its way."""
        self._steps, self._passed_at = 0, now


def seconds(running: int) -> float:
    """How long what was made may wait for more."""
    return min(max(running / PIECES_A_SECOND, SECONDS), MOST_SECONDS)

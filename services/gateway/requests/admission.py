"""Who may run: a bound on answers in flight, refused at once above it."""

from __future__ import annotations

import time
from collections.abc import Callable

from chassis.departures import Places
from chassis.failures import ResourceExhausted


class Admission:
    """Counts the requests in flight, each as often as it asks for answers; they hold their places until its END is
    durable."""

    def __init__(self, bound: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._places = Places(bound, clock)

    @property
    def in_flight(self) -> int:
        return self._places.taken

    def enter(self, answers: int = 1) -> None:
        """Takes a place for each, or raises ResourceExhausted, which tells when there will probably be room."""
        if not self._places.take(answers):
            bound = self._places.bound
            raise ResourceExhausted(
                f"at most {bound} answers may be in flight, and there is no room for {answers} more; try again shortly",
                reason="TOO_MANY_IN_FLIGHT",
                retry_after_seconds=self._places.seconds_until_room(answers),
                bound=str(bound),
                more=str(answers),
            )

    def leave(self, answers: int = 1) -> None:
        """Gives the places back."""
        self._places.leave(answers)

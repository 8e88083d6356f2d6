"""Who may run: a bound on requests in flight, refused at once above it."""

from __future__ import annotations

import time
from collections.abc import Callable

from chassis.departures import Places
from chassis.failures import ResourceExhausted


class Admission:
    """Counts the requests in flight; each holds its place until its END is durable."""

    def __init__(self, bound: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._places = Places(bound, clock)

    @property
    def in_flight(self) -> int:
        return self._places.taken

    def enter(self) -> None:
        """Takes a place, or raises ResourceExhausted, which tells when there will probably be one."""
        if not self._places.take():
            bound = self._places.bound
            raise ResourceExhausted(
                f"{bound} requests are in flight already; try again shortly",
                reason="TOO_MANY_IN_FLIGHT",
                retry_after_seconds=self._places.seconds_until_room(),
                bound=str(bound),
            )

    def leave(self) -> None:
        """Gives the place back."""
        self._places.leave()

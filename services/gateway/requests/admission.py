"""Who may run: a bound on requests in flight, refused at once above it."""

from __future__ import annotations

from chassis.failures import ResourceExhausted

RETRY_AFTER_SECONDS = 1.0


class Admission:
    """Counts the requests in flight; each holds its place until its END is durable."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._in_flight = 0

    @property
    def in_flight(self) -> int:
        return self._in_flight

    def enter(self) -> None:
        """Takes a place, or raises ResourceExhausted."""
        if self._in_flight >= self._bound:
            raise ResourceExhausted(
                f"{self._bound} requests are in flight already; try again shortly",
                reason="TOO_MANY_IN_FLIGHT",
                retry_after_seconds=RETRY_AFTER_SECONDS,
                bound=str(self._bound),
            )
        self._in_flight += 1

    def leave(self) -> None:
        """Gives the place back."""
        self._in_flight -= 1
        assert self._in_flight >= 0, "a place was given back twice"

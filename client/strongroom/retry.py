"""When a call that failed is tried again: only where no second answer can come of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from strongroom.failures import CallFailed, Unavailable

# gRPC's own words for a call that found no connection: it was never sent. If they change, less is tried again.
NEVER_SENT = "failed to connect to all addresses"


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How often and how patiently. Only UNAVAILABLE is tried again, and nothing once a request was accepted."""

    attempts: int = 3  # calls in all; 1 tries nothing again
    first_pause_seconds: float = 0.2  # doubled each time, where the gateway names no time itself
    longest_pause_seconds: float = 5.0  # a gateway that asks for a longer one is not waited for

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts is {self.attempts}: it must be at least 1, which tries nothing again")
        if not 0 <= self.first_pause_seconds <= self.longest_pause_seconds:
            raise ValueError("first_pause_seconds must be between 0 and longest_pause_seconds")

    def pause(self, attempt: int, failure: CallFailed, left: float, chance: float) -> float | None:
        """Seconds until the next attempt, or None if there is none. `attempt` counts from 1, `chance` is 0 to 1.

        Jitter only adds to what a gateway asked for: who comes back early finds it as full as before.
        """
        if attempt >= self.attempts or not isinstance(failure, Unavailable):
            return None
        asked = failure.retry_after_seconds
        if asked is None:
            pause = min(self.first_pause_seconds * 2 ** (attempt - 1), self.longest_pause_seconds) * (0.5 + chance / 2)
        elif asked <= self.longest_pause_seconds:
            pause = asked * (1 + chance / 2)
        else:
            return None
        return pause if pause < left else None


OFF = Retry(attempts=1)


class Attempts:
    """One call's attempts, all within one deadline."""

    def __init__(
        self,
        retry: Retry,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._retry, self._clock, self._chance = retry, clock, chance
        self._until = clock() + seconds
        self._made = 1

    def left(self) -> float:
        """Seconds until the deadline, as gRPC takes them."""
        return max(self._until - self._clock(), 0.0)

    def pause_after(self, failure: CallFailed, safe: bool) -> float:
        """Seconds to wait before the next attempt. Raises the failure if there is none."""
        pause = self._retry.pause(self._made, failure, self.left(), self._chance()) if safe else None
        if pause is None:
            raise failure
        self._made += 1
        return pause


def nothing_goes_on(failure: CallFailed) -> bool:
    """Whether the gateway itself said so by naming a time to come back, or the call never reached one."""
    return failure.retry_after_seconds is not None or NEVER_SENT in str(failure)

"""Permits: each lets a gateway run one record's request once more, for the person who asked for that."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from chassis.identity import Principal

VALID_SECONDS = 600.0
MOST = 1_000  # the oldest goes when there are more


@dataclass(frozen=True)
class Permit:
    """Who asked, why, and for which record."""

    token: str
    record_id: str
    person: Principal
    reason: str
    until: float  # monotonic clock


class Permits:
    """In memory: after audit's restart they are asked for again. From any thread."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        token: Callable[[], str] = lambda: secrets.token_urlsafe(32),
    ) -> None:
        self._clock, self._token = clock, token
        self._given: dict[str, Permit] = {}

    def give(self, record_id: str, person: Principal, reason: str) -> Permit:
        permit = Permit(self._token(), record_id, person, reason, self._clock() + VALID_SECONDS)
        self._given[permit.token] = permit
        while len(self._given) > MOST:
            del self._given[next(iter(self._given))]
        return permit

    def find(self, token: str) -> Permit | None:
        """None where there is none, or it is void by now."""
        permit = self._given.get(token)
        return permit if permit and self._clock() < permit.until else None

    def spend(self, permit: Permit) -> None:
        """It came to a judgement."""
        self._given.pop(permit.token, None)

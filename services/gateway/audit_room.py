"""Whether audit's disk has room for new records: known from its refusals, and tried again by one request at a time.

Each refusal costs audit an entry of its own, as the sequence may have no gap, and is paid from what is left for ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from services.gateway.requests.neighbours import AuditFull

T = TypeVar("T")
R = TypeVar("R")
_SHORTEST_SECONDS = 0.1
_RETRY_SECONDS = 1.0  # where audit did not say


class AuditRoom:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused: AuditFull | None = None
        self._again = 0.0  # when the next one may try

    def require(self) -> None:
        """Raises AuditFull while audit would; one that passes all the same tries it for the others."""
        if self._refused is None:
            return
        left = self._again - self._clock()
        if left > 0:
            raise AuditFull(
                str(self._refused), reason=self._refused.reason, retry_after_seconds=max(left, _SHORTEST_SECONDS)
            )
        self._wait()

    def hearing(self, read: Callable[[R], T]) -> Callable[[R], T]:
        """Reads an answer to what opens a record, and learns from it."""

        def heard(reply: R) -> T:
            try:
                answer = read(reply)
            except AuditFull as full:
                self._refused = full
                self._wait()
                raise
            self._refused = None
            return answer

        return heard

    def _wait(self) -> None:
        seconds = self._refused.retry_after_seconds if self._refused else None
        self._again = self._clock() + (seconds or _RETRY_SECONDS)

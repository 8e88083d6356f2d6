"""When a piece of answer is due: the first token at once, then every 8 tokens or 200 ms after the last release."""

from __future__ import annotations

TOKENS = 8
SECONDS = 0.2


class Cadence:
    """Decides, with the caller's clock, whether what has gathered should be released now."""

    def __init__(self) -> None:
        self._released_at: float | None = None
        self._tokens = 0

    def gather(self, tokens: int) -> None:
        """Counts tokens that wait."""
        self._tokens += tokens

    def due_in(self, now: float) -> float:
        """Seconds until a release is due; 0 or less means now."""
        if self._released_at is None or self._tokens >= TOKENS:
            return 0.0
        return self._released_at + SECONDS - now

    def lacking(self, now: float) -> int:
        """Tokens that are still to come before their number makes a release due."""
        return 1 if self.due_in(now) <= 0 else TOKENS - self._tokens

    def released(self, now: float) -> None:
        """Starts the count again."""
        self._released_at, self._tokens = now, 0

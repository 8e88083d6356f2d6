"""When what was made goes on its way: the first token at once, then at every 8th token or after 200 ms."""

from __future__ import annotations

TOKENS = 8
SECONDS = 0.2


class Cadence:
    """Of one answer. Pieces end at tokens counted from the answer's start, so that whoever makes one again as fast
    cuts it in the same places."""

    def __init__(self, tokens: int = 0) -> None:
        """`tokens`: what earlier claims passed on."""
        self._tokens = tokens
        self._passed_at: float | None = None

    def due(self, tokens: int, now: float, next_look: float = 0.0) -> bool:
        """With so many tokens made. `next_look`: seconds until somebody will probably ask again."""
        if self._passed_at is None or tokens // TOKENS > self._tokens // TOKENS:
            return True
        return now + next_look - self._passed_at >= SECONDS

    def passed(self, tokens: int, now: float) -> None:
        """So many are on their way."""
        self._tokens, self._passed_at = tokens, now

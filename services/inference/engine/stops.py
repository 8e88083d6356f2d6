"""Stop strings over a stream of text: no part of one is ever let out."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class StopStrings:
    """Lets text out once it can no longer be the beginning of a stop string.

    The match that *ends* first wins, of those the longest: so any way of cutting the text into pieces gives the same
    answer.
    """

    stops: tuple[str, ...]
    hit: bool = False
    _held: str = field(default="", repr=False)

    def feed(self, text: str) -> str:
        if not self.stops or not text or self.hit:
            return "" if self.hit else text
        self._held += text
        found = self._first_match()
        if found is not None:
            out, self._held, self.hit = self._held[:found], "", True
            return out
        keep = self._undecided()
        out = self._held[: len(self._held) - keep]
        self._held = self._held[len(self._held) - keep :]
        return out

    def flush(self) -> str:
        """What was held back, once no more text can come."""
        out, self._held = self._held, ""
        return out

    def _first_match(self) -> int | None:
        starts = ((self._held.find(stop), len(stop)) for stop in self.stops)
        ends = [(start + length, start) for start, length in starts if start >= 0]
        return min(ends)[1] if ends else None

    def _undecided(self) -> int:
        """Length of the longest suffix that is a proper prefix of a stop string."""
        longest = min(len(self._held), max(map(len, self.stops)) - 1)
        for length in range(longest, 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self.stops if len(stop) > length):
                return length
        return 0

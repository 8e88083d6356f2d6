"""How many prompt tokens a step may carry, so that it stays short for those who decode."""

from __future__ import annotations

_GRAIN = 8  # tokens; small changes of the measured speed do not change the chunk
_WEIGHT = 0.3  # of the newest measurement


class PrefillBudget:
    """Learns what prefill and decode cost here, and fills what a decode step leaves of the target."""

    def __init__(self, target_ns: int, *, first: int = 32, most: int = 512, fixed: int = 0) -> None:
        self._target_ns = target_ns
        self._first = first
        self._most = most
        self._fixed = fixed  # one chunk of at most so many tokens a step; 0 = learn
        self._ns_per_token = 0.0
        self._decode_ns = 0.0

    def chunk(self, pending: int, *, spent_ns: int, beside_decode: bool) -> int:
        """Tokens of the next chunk; 0: no more in this step. The first chunk of a step is never 0."""
        if self._fixed or not self._ns_per_token:
            return 0 if spent_ns else min(pending, self._fixed or self._first)
        room_ns = self._target_ns - spent_ns - (self._decode_ns if beside_decode else 0.0)
        fitting = int(room_ns / self._ns_per_token) // _GRAIN * _GRAIN
        if fitting < _GRAIN and spent_ns:
            return 0
        return min(pending, max(fitting, _GRAIN), self._most)

    def prefilled(self, tokens: int, took_ns: int) -> None:
        # A small chunk costs mostly the reading of the weights: it says nothing about a token's cost.
        if tokens >= _GRAIN:
            self._ns_per_token = _blend(self._ns_per_token, took_ns / tokens)

    def decoded(self, took_ns: int) -> None:
        self._decode_ns = _blend(self._decode_ns, took_ns)


def _blend(old: float, new: float) -> float:
    return new if not old else (1 - _WEIGHT) * old + _WEIGHT * new

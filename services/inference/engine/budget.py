"""How many prompt tokens a step may carry, so that it stays short for those who decode."""

from __future__ import annotations

_GRAIN = 8  # tokens; small changes of the measured speed do not change the chunk
_WEIGHT = 0.3  # of the newest measurement
_JUMP = 1.5  # a measurement so many times the expected one means a slower machine now, and counts at once
_LATE = 1.25  # a step so many times its target was late
_LEAST_SHARE = 0.25  # of the target, after late steps
_RECOVERY = 0.05  # of what is missing of the share, a step on time


class PrefillBudget:
    """Learns what prefill and decode cost here, and fills what a decode step leaves of the target.

    On a machine whose speed jumps, a full target is often overrun: late steps halve what is aimed for, and steps on
    time give it back slowly. The size of a chunk changes no token (invariant 11).
    """

    def __init__(self, target_ns: int, *, first: int = 32, most: int = 512, fixed: int = 0) -> None:
        self._target_ns = target_ns
        self._first = first
        self._most = most
        self._fixed = fixed  # one chunk of at most so many tokens a step; 0 = learn
        self._ns_per_token = 0.0
        self._decode_ns = 0.0
        self._share = 1.0

    def chunk(self, pending: int, *, spent_ns: int, beside_decode: bool) -> int:
        """Tokens of the next chunk; 0: no more in this step. The first chunk of a step is never 0."""
        if self._fixed or not self._ns_per_token:
            return 0 if spent_ns else min(pending, self._fixed or self._first)
        room_ns = self._target_ns * self._share - spent_ns - (self._decode_ns if beside_decode else 0.0)
        fitting = int(room_ns / self._ns_per_token) // _GRAIN * _GRAIN
        if fitting < _GRAIN and spent_ns:
            return 0
        return min(pending, max(fitting, _GRAIN), self._most)

    def prefilled(self, tokens: int, took_ns: int) -> None:
        # A small chunk costs mostly the reading of the weights: it says nothing about a token's cost.
        if tokens >= _GRAIN:
            self._ns_per_token = _learned(self._ns_per_token, took_ns / tokens)

    def decoded(self, took_ns: int) -> None:
        self._decode_ns = _learned(self._decode_ns, took_ns)

    def stepped(self, took_ns: int) -> None:
        """A step with prefill in it, as a whole."""
        if took_ns > _LATE * self._target_ns:
            self._share = max(self._share / 2, _LEAST_SHARE)
        else:
            self._share += (1 - self._share) * _RECOVERY


def _learned(old: float, new: float) -> float:
    return new if not old or new > _JUMP * old else (1 - _WEIGHT) * old + _WEIGHT * new

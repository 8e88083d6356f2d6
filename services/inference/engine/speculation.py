"""Guesses at the next tokens from what the request has said before: prompt-lookup speculative decoding.

An answer that quotes its prompt or itself goes on as it did before. The tokens that once followed the newest few are
run in the same pass as the newest: each is kept only if it is the very token that is chosen there, so the answer is
what it would have been, in fewer passes. (Saxena, Prompt Lookup Decoding, 2023.)
"""

from __future__ import annotations

from collections.abc import Iterable

GUESSED_TOKENS = 12  # of all rows in a pass; what guesses bring is in docs/performance.md

_LONGEST, _SHORTEST = 3, 2  # tokens that must have been there before
_FIRST, _MOST = 3, 8  # guessed at once: as many again each time that all were right
_TRIAL = 4  # guesses in a row, none of them right, after which there is a rest
_REST = 24  # tokens


class Lookup:
    """Where each run of a few tokens last ended, for one request. A function of its tokens and of what was right."""

    def __init__(self, tokens: Iterable[int]) -> None:
        self._tokens: list[int] = []
        self._ends: dict[tuple[int, ...], int] = {}  # of all runs but those that end with the newest token
        self._width, self._missed, self._resting_until = _FIRST, 0, 0
        for token in tokens:
            self.add(token)

    @property
    def tokens(self) -> int:
        return len(self._tokens)

    def add(self, token: int) -> None:
        end = len(self._tokens)
        for size in range(_SHORTEST, min(_LONGEST, end) + 1):
            self._ends[tuple(self._tokens[end - size :])] = end
        self._tokens.append(token)

    def guess(self, most: int) -> list[int]:
        """What may come next; nothing where nothing like it was there, or guesses went wrong of late."""
        if most < 1 or len(self._tokens) < self._resting_until:
            return []
        for size in range(_LONGEST, _SHORTEST - 1, -1):
            end = self._ends.get(tuple(self._tokens[-size:]))
            if end is not None:
                return self._tokens[end : end + min(most, self._width)]
        return []

    def judge(self, guessed: int, right: int) -> None:
        """How many of the last guess were right."""
        if right:
            self._missed = 0
            self._width = min(2 * self._width, _MOST) if right == guessed else _FIRST
            return
        self._missed, self._width = self._missed + 1, _FIRST
        if self._missed >= _TRIAL:
            self._missed, self._resting_until = 0, len(self._tokens) + _REST

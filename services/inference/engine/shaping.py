"""What changes a row of logits before a token is chosen from it: penalties, bias, ends not yet allowed, a grammar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.inference.engine.choosing import Row
from services.inference.engine.sampling import Sampling


class Mask(Protocol):
    """Where a grammar stands in an answer."""

    @property
    def complete(self) -> bool: ...

    @property
    def lost(self) -> bool: ...

    def accept(self, token: int) -> None: ...

    def forbid(self, row: Row) -> None:
        """Sets to minus infinity what cannot follow."""
        ...


class Shaping:
    """One request's. A pure function of prompt and the tokens accepted so far, so another worker restores it."""

    def __init__(
        self, sampling: Sampling, prompt: Sequence[int], end_ids: Iterable[int] = (), mask: Mask | None = None
    ) -> None:
        self._sampling, self._mask = sampling, mask
        self._ends = _ids(sorted({*end_ids, *sampling.stop_ids}))
        self._biased = _ids([token for token, _ in sampling.logit_bias])
        self._bias = np.array([bias for _, bias in sampling.logit_bias], np.float32)
        self._said = _Counted(sampling.max_tokens)
        known = sorted(set(prompt)) if sampling.repetition_penalty != 1.0 else []
        self._seen = _Counted(sampling.max_tokens, known)

    def accept(self, token: int) -> None:
        self._said.add(token)
        self._seen.add(token)
        if self._mask:
            self._mask.accept(token)

    @property
    def complete(self) -> bool:
        """The grammar lets nothing follow."""
        return self._mask is not None and self._mask.complete

    @property
    def lost(self) -> bool:
        """The grammar's limits were reached within the answer: no token can be chosen."""
        return self._mask is not None and self._mask.lost

    def apply(self, row: Row) -> Row:
        """A row of its own."""
        sampling, row = self._sampling, row.copy()
        if sampling.repetition_penalty != 1.0:
            penalty, seen = sampling.repetition_penalty, self._seen.ids
            row[seen] = np.where(row[seen] > 0, row[seen] / penalty, row[seen] * penalty)
        if sampling.frequency_penalty or sampling.presence_penalty:
            said = self._said
            row[said.ids] -= sampling.frequency_penalty * said.counts + sampling.presence_penalty
        row[self._biased] += self._bias
        if self._said.total < sampling.min_tokens:
            row[self._ends] = -np.inf
        if self._mask:
            self._mask.forbid(row)
        return row


class _Counted:
    """Tokens and how often each came, as arrays that a row is indexed by. Room for all is taken at the start."""

    def __init__(self, more: int, known: Sequence[int] = ()) -> None:
        self._ids = np.zeros(len(known) + more, np.intp)
        self._counts = np.zeros(len(known) + more, np.float32)
        self._ids[: len(known)] = known
        self._places = {token: place for place, token in enumerate(known)}
        self.total = 0

    def add(self, token: int) -> None:
        place = self._places.setdefault(token, len(self._places))
        self._ids[place] = token
        self._counts[place] += 1
        self.total += 1

    @property
    def ids(self) -> NDArray[np.intp]:
        return self._ids[: len(self._places)]

    @property
    def counts(self) -> NDArray[np.float32]:
        return self._counts[: len(self._places)]


def _ids(tokens: Sequence[int]) -> NDArray[np.intp]:
    return np.array(tokens, np.intp)

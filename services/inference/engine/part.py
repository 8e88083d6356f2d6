"""What one request has in a pass: tokens to run, and rows of logits in return."""

from __future__ import annotations

from collections.abc import Sequence as Rows
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from services.inference.engine.batch import Segment
from services.inference.engine.sequence import Sequence

Logits = Any  # rows of a tensor or an array: sliced and indexed


@dataclass(frozen=True, slots=True)
class Part:
    """Of a pass: a sequence's next `count` pending tokens, and what may come after them."""

    sequence: Sequence
    count: int
    guess: tuple[int, ...] = ()  # only where the next token can be chosen

    @property
    def tokens(self) -> int:
        return self.count + len(self.guess)

    @property
    def ends(self) -> bool:
        """After the pass the next token can be chosen. Asked before it."""
        return self.count == self.sequence.pending

    @property
    def segment(self) -> Segment:
        one = self.sequence
        ids = [*one.ids(one.cached, one.cached + self.count), *self.guess]
        return Segment(one.slot, one.cached, ids, logits=self.wanted, adapter=one.work.adapter)

    @property
    def wanted(self) -> int:
        """Rows of logits."""
        return 1 + len(self.guess) if self.ends else 0


def split_logits(batch: Rows[Part], logits: Logits) -> tuple[Logits, list[Logits]]:
    """Of each part that ends: the row after its newest token, all of them together, and the rows after its guess."""
    ending = [part for part in batch if part.ends]
    if not any(part.guess for part in ending):
        return logits, [logits[:0]] * len(ending)
    starts = [0]
    for part in ending:
        starts.append(starts[-1] + part.wanted)
    return logits[starts[:-1]], [logits[start + 1 : end] for start, end in pairwise(starts)]

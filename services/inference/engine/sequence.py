"""A request inside the engine, and the order of requests in the slots of the KV cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from services.inference.engine.answer import Answer
from services.inference.engine.protocol import Failure, StepOutput, Timing, Work
from services.inference.engine.speculation import Lookup


@dataclass(slots=True, eq=False)
class Sequence:
    """`cached` tokens of prompt + answer are in the KV cache; the rest is pending.

    One pending token means: the next forward pass yields the next token's logits (decode). More: prefill. So the last
    token of a prompt that is left over decodes, too.
    """

    work: Work
    prompt: list[int] = field(repr=False)
    answer: Answer = field(repr=False)
    timing: Timing
    arrival: int
    cached: int = 0
    slot: int = -1
    _lookup: Lookup | None = field(default=None, repr=False)  # made when first asked for a guess

    @property
    def rank(self) -> int:
        return self.work.rank

    @property
    def arrived_ns(self) -> int:
        return self.timing.admitted_ns

    @property
    def deadline_ns(self) -> int:
        return self.work.deadline_ns

    @property
    def need(self) -> int:
        return len(self.prompt) + self.work.sampling.max_tokens

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.answer.tokens)

    @property
    def pending(self) -> int:
        return self.length - self.cached

    def guess(self, most: int) -> list[int]:
        """Tokens that may come after the newest; the one after them would still be within max_tokens."""
        said = self.answer.tokens
        if self._lookup is None:
            self._lookup = Lookup(self.prompt)
        for token in said[self._lookup.tokens - len(self.prompt) :]:
            self._lookup.add(token)
        return self._lookup.guess(min(most, self.work.sampling.max_tokens - len(said) - 1))

    def judge(self, guessed: int, right: int) -> None:
        assert self._lookup is not None
        self._lookup.judge(guessed, right)

    def ids(self, start: int, end: int) -> list[int]:
        """Token ids at positions start to end, without joining prompt and answer."""
        border = len(self.prompt)
        if start >= border:
            return self.answer.tokens[start - border : end - border]
        return self.prompt[start:end] + self.answer.tokens[: max(end - border, 0)]

    def mark_once(self, **phases: int) -> None:
        """Phase borders that were not reached before."""
        new = {name: at for name, at in phases.items() if not getattr(self.timing, name)}
        if new:
            self.timing = replace(self.timing, **new)

    def output(self, token_ids: tuple[int, ...], text: str, failure: Failure | None = None) -> StepOutput:
        shown = (token_ids, text, failure)
        return self.answer.output(self.work.request_id, *shown, prompt=self.prompt, timing=self.timing)


class SlotMover(Protocol):
    """The cache, as far as the order of slots needs it."""

    def move(self, source: int, target: int, tokens: int) -> None: ...

    def swap(self, one: int, other: int, tokens: int) -> None: ...


class SlotOrder:
    """Keeps decoding rows in slots 0..d-1 and prefilling ones right after them.

    So a decode batch is one slice of the cache and nothing is gathered. The price is a copy when a row leaves.
    """

    def __init__(self, cache: SlotMover) -> None:
        self._cache = cache
        self._rows: list[Sequence] = []
        self._decoding = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._rows)

    @property
    def decoding(self) -> list[Sequence]:
        return self._rows[: self._decoding]

    @property
    def prefilling(self) -> list[Sequence]:
        return self._rows[self._decoding :]

    def add(self, sequence: Sequence) -> None:
        sequence.slot = len(self._rows)
        self._rows.append(sequence)

    def promote(self, sequence: Sequence) -> None:
        """From prefilling to decoding, if it does not decode already."""
        if sequence.slot < self._decoding:
            return
        first = self._rows[self._decoding]
        if first is not sequence:
            self._cache.swap(first.slot, sequence.slot, max(first.cached, sequence.cached))
            first.slot, sequence.slot = sequence.slot, first.slot
            self._rows[first.slot], self._rows[sequence.slot] = first, sequence
        self._decoding += 1

    def remove(self, sequence: Sequence) -> None:
        hole = sequence.slot
        if hole < self._decoding:
            self._decoding -= 1
            self._fill(hole, self._decoding)
            hole = self._decoding
        self._fill(hole, len(self._rows) - 1)
        self._rows.pop()
        sequence.slot = -1

    def _fill(self, hole: int, last: int) -> None:
        if hole == last:
            return
        moved = self._rows[last]
        self._cache.move(last, hole, moved.cached)
        moved.slot, self._rows[hole] = hole, moved

    def check(self) -> None:
        """Slots held = live requests, each in its own place."""
        assert [row.slot for row in self._rows] == list(range(len(self._rows))), "slots are out of order"
        assert all(row.pending == 1 for row in self.decoding), "a decoding row has more than one pending token"
        assert 0 <= self._decoding <= len(self._rows)

"""Holds an answer to its grammar: which tokens may come next, from the tokens so far."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from llguidance import LLMatcher, LLTokenizer

from chassis import grammars
from services.inference.engine.choosing import Row
from services.inference.engine.detokenizer import TokenBytes
from services.inference.engine.sampling import EngineRefusal, Grammar
from services.inference.engine.shaping import Mask

COMPILED_KEPT = 128
_FORBIDDEN = np.float32(-np.inf)


class GrammarRefused(EngineRefusal):
    """The grammar cannot be read, or asks for what no answer can hold."""

    reason = "GRAMMAR_REFUSED"

    def __init__(self) -> None:
        super().__init__("grammar", "readable", "the grammar cannot be read, or no answer matches it: correct it")


class Vocabulary:
    """A tokenizer as the library wants it: every token's bytes, as the detokenizer spells them."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(
        self,
        token_bytes: TokenBytes,
        size: int,
        silent: frozenset[int],
        end_ids: frozenset[int],
        encode: Callable[[str], list[int]],
    ) -> None:
        self.tokens = [b"" if token in silent else token_bytes(token) for token in range(size)]
        self.special_token_ids = sorted(silent)
        self.eos_token_id = min(end_ids)
        self._encode = encode

    def __call__(self, text: str) -> list[int]:
        return self._encode(text)


class Grammars:
    """Compiles grammars for one vocabulary and keeps the last ones. May be called from any thread."""

    def __init__(self, vocabulary: Callable[[], Vocabulary], end_ids: frozenset[int]) -> None:
        """`vocabulary` is asked for once, at the first grammar: it costs half a second."""
        self._vocabulary, self._end_ids = vocabulary, end_ids
        self._tokenizer: LLTokenizer | None = None
        self._lock = threading.Lock()
        self._compiled: OrderedDict[Grammar, LLMatcher] = OrderedDict()

    def compile(self, grammar: Grammar) -> LLMatcher:
        """In its first state: to be copied, never fed. Raises GrammarRefused."""
        if (known := self._known(grammar)) is not None:
            return known
        try:
            source = grammars.source(grammar.kind, grammar.text)
        except ValueError:
            raise GrammarRefused from None
        matcher = LLMatcher(self._tokens(), source, log_level=0, limits=grammars.limits())
        if matcher.is_error():
            raise GrammarRefused
        with self._lock:
            self._compiled[grammar] = matcher
            if len(self._compiled) > COMPILED_KEPT:
                self._compiled.popitem(last=False)
        return matcher

    def mask(self, grammar: Grammar | None, opening: str = "") -> Mask | None:
        """At the beginning of an answer; with an `opening`, the mark of reasoning, from the end of that on."""
        if grammar is None:
            return None
        mask = GrammarMask(self.compile(grammar).deep_copy())
        return _AfterReasoning(mask, self._tokens().decode_bytes) if opening else mask

    def _known(self, grammar: Grammar) -> LLMatcher | None:
        with self._lock:
            if grammar in self._compiled:
                self._compiled.move_to_end(grammar)
            return self._compiled.get(grammar)

    def _tokens(self) -> LLTokenizer:
        with self._lock:
            if self._tokenizer is None:
                vocabulary = self._vocabulary()
                self._tokenizer = LLTokenizer(
                    vocabulary,  # type: ignore[arg-type]  # it asks for no more than these attributes
                    n_vocab=len(vocabulary.tokens),
                    eos_token=sorted(self._end_ids),
                )
            return self._tokenizer


class GrammarMask:
    """Where one answer stands in its grammar. A token that cannot come leaves it at a loss for good."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    @property
    def complete(self) -> bool:
        """Nothing can follow."""
        return self._matcher.is_stopped() and not self.lost

    @property
    def lost(self) -> bool:
        """A limit was reached, or a token came that could not: nothing more is known."""
        return self._matcher.is_error()

    def accept(self, token: int) -> None:
        self._matcher.consume_token(token)

    def forbid(self, row: Row) -> None:
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self.lost:
            row[:] = _FORBIDDEN
            return
        allowed = np.unpackbits(bits, count=len(row), bitorder="little")  # a row may be longer: no such token
        np.putmask(row, allowed == 0, _FORBIDDEN)


class _AfterReasoning:
    """Lets everything through until the reasoning has ended."""

    _END = b"</think>"

    def __init__(self, mask: GrammarMask, spell: Callable[[list[int]], bytes]) -> None:
        self._mask, self._spell = mask, spell
        self._tail, self._waiting = b"", True

    @property
    def complete(self) -> bool:
        return not self._waiting and self._mask.complete

    @property
    def lost(self) -> bool:
        return self._mask.lost

    def accept(self, token: int) -> None:
        if not self._waiting:
            self._mask.accept(token)
            return
        self._tail = (self._tail + self._spell([token]))[-64:]
        self._waiting = self._END not in self._tail

    def forbid(self, row: Row) -> None:
        if not self._waiting:
            self._mask.forbid(row)

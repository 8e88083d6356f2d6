"""Finds the policy's system prompt in an answer that arrives in pieces. What it finds does not depend on the pieces."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from ahocorasick_rs import AhoCorasick

from services.guard.policy.folding import GAP, NOTHING, STOP, fold
from services.guard.redaction.characters import ideographic
from services.guard.redaction.folds import Folds

RULE = "system_prompt/repeated"
# In letters; an ideograph says as much as three. Eight English words or fourteen characters: less is a turn of phrase.
LEAK: Final = 40
SHOWN: Final = 12  # of a repetition these are released before it is held back: a word or two
_SEED: Final = 9  # every repetition that is held back begins with one so long
_IDEOGRAPH: Final = 3
WIDEST_GAP: Final = 16  # characters between two letters of a repetition: numbering, bullets, line ends; more end it
# Characters that may be the beginning of a repetition which shows no seed yet.
_KEPT: Final = (_SEED - 1) * (WIDEST_GAP + 1)

_LETTER: Final = re.compile(r"[^\W\d_]")


def _fold_letter(character: str) -> str:
    """Case, accents and look-alikes as the topics read them; nothing for what is no letter."""
    if not _LETTER.match(character):
        return ""
    folded = fold(character)
    return character if folded in (GAP, NOTHING, STOP) else folded


_LETTERS: Final = Folds(_fold_letter)


def letters_of(text: str) -> str:
    return _LETTERS.fold(text)


class PromptIndex:
    """The letters of the prompt's passages that no answer may repeat."""

    def __init__(self, passages: Sequence[str], only_flags: bool = False) -> None:
        self.only_flags = only_flags
        self._joined = "\0".join(passages)  # which is no letter, so that nothing reaches from one into the next
        seeds = {seed for passage in passages if weight(passage) >= LEAK for seed in _seeds_of(passage)}
        self._seeds = AhoCorasick(sorted(seeds)) if seeds else None

    def seeds_in(self, letters: str) -> Sequence[tuple[int, int]]:
        """Where a repetition may begin: start and end of each."""
        if self._seeds is None:
            return ()
        return [(start, end) for _, start, end in self._seeds.find_matches_as_indexes(letters, overlapping=True)]

    def has(self, letters: str) -> bool:
        return letters in self._joined

    def possible(self, text: str) -> bool:
        """Whether this whole text may repeat it; False is certain."""
        return bool(self.seeds_in(letters_of(text)))


def index_prompt(texts: Iterable[str], may_repeat: Iterable[str] = (), only_flags: bool = False) -> PromptIndex:
    """`may_repeat`: what answers are meant to say, such as a disclaimer."""
    passages = [letters_of(text) for text in texts]
    for allowed in sorted(map(letters_of, may_repeat), key=len, reverse=True):
        passages = [part for passage in passages for part in passage.split(allowed)] if allowed else passages
    return PromptIndex([passage for passage in passages if passage], only_flags)


def weight(letters: str) -> int:
    return sum(_weights(letters))


def _weights(letters: str) -> Iterator[int]:
    return (_IDEOGRAPH if ideographic(letter) else 1 for letter in letters)


def _seeds_of(passage: str) -> Iterator[str]:
    """From every letter on, as few as weigh _SEED."""
    sums = [0, *accumulate(_weights(passage))]
    end = 0
    for start in range(len(passage)):
        while end < len(passage) and sums[end] - sums[start] < _SEED:
            end += 1
        if sums[end] - sums[start] >= _SEED:
            yield passage[start:end]


class Leak(NamedTuple):
    """Nothing at or behind `start` may be released; what came up to `decided` said so."""

    start: int
    decided: int


class _Letters(NamedTuple):
    """Of the text in memory: what they are, where each stands, and the sums of their weights."""

    text: str
    places: list[int]
    sums: list[int]


class LeakScan:
    """Follows the longest ending of the text that is part of the prompt. In memory are its characters, and no more than
    _KEPT before it shows a seed."""

    def __init__(self, index: PromptIndex) -> None:
        self._index = index
        self._tail = ""
        self._recent = ""  # letters, fewer than a seed has
        self._begun = False  # a repetition reaches the end of the text
        self._dropped = 0  # characters before it
        self._held: int | None = None
        self._told = False

    @property
    def hold(self) -> int:
        """The place in the text from which a repetition may still become a leak."""
        return self._dropped + len(self._tail) if self._held is None else self._held

    @property
    def size(self) -> int:
        """Characters in memory."""
        return len(self._tail)

    def feed(self, text: str) -> Leak | None:
        """The first leak, once; the scan is over then."""
        self._tail += text
        self._held = None
        letters = self._recent + letters_of(text)
        self._recent = letters[1 - _SEED :]
        kept = _KEPT
        if not self._told and (self._begun or self._index.seeds_in(letters)):
            leak, run = self._follow(letters_of(self._tail))
            if leak is not None:
                self._told = True
                return leak
            kept, self._begun = max(kept, len(self._tail) - run), run < len(self._tail)
        if len(self._tail) > kept:
            self._dropped += len(self._tail) - kept
            self._tail = self._tail[-kept:]
        return None

    def _follow(self, text: str) -> tuple[Leak | None, int]:
        """A leak, or where in the tail the repetition begins that reaches its end."""
        places = [match.start() for match in _LETTER.finditer(self._tail)]
        letters = _Letters(text, places, [0, *accumulate(_weights(text))])
        end = 0
        for start, seeded in sorted(self._index.seeds_in(text)):
            end = self._reach(letters, start, max(end, seeded))
            if end < seeded:  # too wide a gap within it
                continue
            shown = self._first(letters, start, end, SHOWN)
            decided = self._first(letters, start, end, LEAK)
            if decided is not None and shown is not None:
                return Leak(self._dropped + places[shown], self._dropped + places[decided] + 1), 0
            if end == len(text) and len(self._tail) - places[-1] <= WIDEST_GAP + 1:
                if shown is not None and not self._index.only_flags:
                    self._held = self._dropped + places[shown]
                return None, places[start]
        return None, len(self._tail)

    def _reach(self, letters: _Letters, start: int, end: int) -> int:
        """How far what begins at `start` is the prompt's: at least to `end`, but for its gaps."""
        text, places = letters.text, letters.places
        for at in range(start + 1, end):
            if places[at] - places[at - 1] > WIDEST_GAP + 1:
                return at
        while end < len(text) and places[end] - places[end - 1] <= WIDEST_GAP + 1:
            if not self._index.has(text[start : end + 1]):
                break
            end += 1
        return end

    @staticmethod
    def _first(letters: _Letters, start: int, end: int, wanted: int) -> int | None:
        """The letter with which so much of it is there."""
        sums = letters.sums
        return next((at for at in range(start, end) if sums[at + 1] - sums[start] >= wanted), None)

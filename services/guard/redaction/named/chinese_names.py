"""Chinese personal names: every surname character is a candidate, a linear model reads it and what stands beside it."""

import re
from collections.abc import Iterable, Iterator, Sequence

from services.guard.redaction.charset import Charset
from services.guard.redaction.named.entity import PERSON, Entity, Reader

REACH = 9  # characters from a candidate's start that the features read
_BEHIND = 8  # and before it

_HAN = "\u4e00-\u9fff"
_SKIPPED = ":, \"'“”(（)=、/\n-—"
_KEY_BEFORE = re.compile(f"([{_HAN}A-Za-z]?[{_HAN}A-Za-z]?[{_HAN}A-Za-z])[{_SKIPPED}是为叫]{{0,2}}\\Z")
_KEY_AFTER = re.compile(f"[{_SKIPPED}]{{0,2}}([{_HAN}A-Za-z0-9][{_HAN}A-Za-z0-9]?)")
_IS_HAN = re.compile(f"[{_HAN}]").match

Weights = list[dict[str, float]]


class Lexicon:
    """What the candidates are made of: surnames, and how usual a character is in given names, in four ranks each.
    `words` are ordinary words that begin with a surname's character, as most candidates do, `endings` end with one."""

    def __init__(
        self, surnames: Sequence[str], given: str, words: Iterable[str] = (), endings: Iterable[str] = ()
    ) -> None:
        self._words, self._endings = frozenset(words), frozenset(endings)
        self.rank = {character: "abcd"[min(place // 120, 3)] for place, character in reversed(list(enumerate(given)))}
        self.usual = {name: "ABCD"[min(place // 60, 3)] for place, name in reversed(list(enumerate(surnames)))}
        self._begins = frozenset(name[0] for name in surnames)
        self._compound = frozenset(name for name in surnames if len(name) > 1)
        self.candidate = re.compile(_candidate(surnames))
        self._may_begin = Charset("".join(sorted(self._begins)))

    def next_candidate(self, text: str, start: int) -> re.Match[str] | None:
        begin = self._may_begin.first(text, start, len(text))
        return self.candidate.search(text, begin) if begin < len(text) else None

    def in_word(self, text: str, start: int) -> bool:
        """Whether the surname's character there begins or ends an ordinary word of two characters."""
        return text[start : start + 2] in self._words or text[max(0, start - 1) : start + 1] in self._endings

    def unfinished(self, text: str) -> int:
        """How many characters at the end may begin a name, but are no candidate before the next one is there."""
        if text[-2:] in self._compound:
            return 2
        return 1 if text[-1:] in self._begins else 0


def _candidate(surnames: Sequence[str]) -> str:
    """A surname before an ideograph, of two that begin alike the longer one. One set comes first, so that all else is
    passed over."""
    single = "".join(name for name in surnames if len(name) == 1)
    compound = [name for name in surnames if len(name) > 1]
    first = "".join(sorted({name[0] for name in compound}))
    rest = "|".join(f"(?<={name[0]}){name[1:]}" for name in compound)
    longer = f"(?<=[{first}])(?:{rest})(?=[{_HAN}])|" if compound else ""
    return f"[{single}{first}](?:{longer}(?<=[{single}])(?=[{_HAN}]))"


def _kind(character: str) -> str:
    """A class for the character beside a name."""
    if not character:
        return "^"
    if _IS_HAN(character):
        return "h"
    if character.isdigit():
        return "0"
    return "a" if character.isalpha() else character


def _lengths(text: str, start: int, surname: int) -> Iterator[int]:
    """How long a name that begins here may be: one or two characters of given name."""
    for given in (1, 2):
        end = start + surname + given
        if end > len(text) or not _IS_HAN(text[end - 1]):
            return
        yield surname + given


def features(lexicon: Lexicon, text: str, start: int, surname: int, last_end: int) -> Iterator[tuple[int, list[str]]]:
    """For each length a name may have here, one value for each of the model's tables."""
    before = text[max(0, start - _BEHIND) : start]
    left, left_kind = before[-1:], _kind(before[-1:])
    found = _KEY_BEFORE.search(before)
    key = found[1] if found else left_kind
    joint = before[last_end - start :] if 0 < start - last_end <= 2 else "|" if start == last_end else ""
    name = text[start : start + surname]
    usual = lexicon.usual.get(name, "-")
    han = left_kind == "h"
    for length in _lengths(text, start, surname):
        given = text[start + surname : start + length]
        after = text[start + length : start + length + 4]
        right, right_kind = after[:1], _kind(after[:1])
        match = _KEY_AFTER.match(after)
        key_after = match[1] if match else right_kind
        ranks = "".join([lexicon.rank.get(character, "-") for character in given])
        size = f"{surname}{len(given)}"
        yield (
            length,
            [
                size + usual + ranks,
                size + name,
                name + given[0],
                size[1] + given[0],
                given[-1] if size[1] == "2" else "-" + given,
                given if size[1] == "2" else "",
                left + name,
                left,
                before[-2:] if han else left_kind,
                before[-3:] if han else "",
                key[-2:],
                key if len(key) > 2 else "",
                given[-1] + right,
                right,
                after[:2] if right_kind == "h" else right_kind,
                after[:3] if right_kind == "h" else "",
                key_after,
                left_kind + right_kind + size,
                joint and joint + size[1],
                right_kind + ranks,
                left_kind + ranks,
                key[-2:] + "|" + key_after,
            ],
        )


def _best(weights: Weights, candidates: Iterator[tuple[int, list[str]]], margin: float) -> int:
    """The length of the name that begins here; 0 where no name scores more than `margin`."""
    chosen, most = 0, margin
    for length, values in candidates:
        score = 0.0
        for place, table in enumerate(weights):
            score += table.get(values[place], 0.0)
        if score > most:
            chosen, most = length, score
    return chosen


class NameReader(Reader):
    """Keeps where the last name ended; none that it finds waits to grow."""

    def __init__(self, lexicon: Lexicon, weights: Weights, margin: float) -> None:
        self._lexicon, self._weights, self._margin = lexicon, weights, margin
        super().__init__()
        self._last_end = -_BEHIND

    def read(self, text: str, start: int, ended: bool) -> tuple[list[Entity], int]:
        """Names that begin at `start` or later, and up to where the text is decided: a candidate is when REACH
        characters from its start are there."""
        found: list[Entity] = []
        size, position = len(text), start
        if text.isascii():  # tested in no time, and most texts in English are
            return found, size
        while (match := self._lexicon.next_candidate(text, position)) is not None:
            position = match.start()
            if not ended and position + REACH > size:
                return found, position
            length = 0 if self._lexicon.in_word(text, position) else self._length(text, match)
            if length:
                self._last_end = position + length
                found.append(Entity(PERSON, position, self._last_end))
            position += length or 1
        return found, max(position, size if ended else size - self._lexicon.unfinished(text))

    def _length(self, text: str, match: re.Match[str]) -> int:
        values = features(self._lexicon, text, match.start(), match.end() - match.start(), self._last_end)
        return _best(self._weights, values, self._margin)

    def shift(self, count: int) -> None:
        """The text's first `count` characters are gone."""
        self._last_end -= count

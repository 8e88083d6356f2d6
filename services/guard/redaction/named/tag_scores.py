"""What the tagger's weights say of a word where it stands: its features in groups, and the sum of each group it met."""

from collections.abc import Mapping, Sequence
from typing import Final

from services.guard.redaction.named.words import NONE, Word

OUT: Final = 0
BEGIN_PERSON: Final = 1
IN_PERSON: Final = 2
BEGIN_ADDRESS: Final = 3
IN_ADDRESS: Final = 4
TAGS: Final = 5

Weights = Sequence[Mapping[str, Sequence[float]]]

# Which of the model's tables have the values of each group.
_OWN = (0, 1, 2, 3, 4, 5, 15, 22)
_BEFORE = (6, 8, 9, 20, 24)
_AFTER = (10, 11, 16, 21, 23)
_AHEAD = (12, 13)
_SHAPES = (14, 18, 19)
_ALONE = (7, 17)
_TABLES = (*_OWN, *_BEFORE, *_AFTER, *_AHEAD, *_SHAPES, *_ALONE)
_ORDER = sorted(range(len(_TABLES)), key=_TABLES.__getitem__)

# A sum holds the scores of all tags side by side, in hundredths: a weight has two decimals.
_BITS: Final = 16
_BIAS: Final = 1 << _BITS - 1
_ONE_SCORE: Final = (1 << _BITS) - 1
_PLACES: Final = tuple(_BITS * tag for tag in range(TAGS))
MOST = _BIAS // (100 * len(_TABLES))  # of a weight, so that no score runs into the next
_MEMORY: Final = 10_000  # sums of a group that are kept


class Walk:
    """Where the tagger stands: what it said about the token before, and what the open entity looks like."""

    __slots__ = ("before", "commas", "last", "length", "line_led", "lines", "previous", "state")

    def __init__(self) -> None:
        self.previous = OUT
        self.last, self.before = NONE, NONE
        self.length = self.commas = self.lines = 0
        self.line_led = "-"  # whether the last address began a line
        self.state = "O"  # the tag before, and how much of an entity is there

    def step(self, word: Word, tag: int) -> None:
        if tag != OUT:
            if tag != IN_PERSON and tag != IN_ADDRESS:
                self.length = self.commas = self.lines = 0
                if self.previous == OUT:
                    self.line_led = "n" if self.last.text == "\n" else "-"
            self.length += 1
            self.commas += word.text == ","
            self.lines += word.text == "\n"
            self.state = f"{'OPpAa'[tag]}{self.length if self.length < 5 else 5}"
        elif self.previous != OUT:
            self.state = "O"
        self.previous = tag
        self.before, self.last = self.last, word


def _own(walk: Walk, word: Word) -> list[str]:
    tag = walk.state[0]
    own = tag + word.shape
    return [
        own,
        tag + word.sort,
        tag + word.word,
        word.suffix and tag + word.suffix,
        word.suffix[1:],
        word.prefix,
        walk.state + word.shape,
        f"{len(word.text)}{own}",
    ]


def _before(walk: Walk, word: Word) -> list[str]:
    tag, last = walk.state[0], walk.last
    return [
        f"{last.word}|{tag}{word.shape}",
        f"{tag}{last.sort}|{word.sort}",
        last.sort + tag,
        f"{last.word}|{tag}{word.sort}",
        f"{walk.line_led}{tag}{last.sort}|{word.sort}",
    ]


def _after(walk: Walk, word: Word, after: Word) -> list[str]:
    tag = walk.state[0]
    own = tag + word.shape
    return [
        f"{after.word}|{own}",
        f"{own}|{after.sort}",
        f"{walk.state}{word.sort}{after.shape}",
        f"{tag}{word.sort}|{after.word}",
        f"{walk.line_led}{own}{after.shape}",
    ]


def _ahead(walk: Walk, word: Word, after: Word, second: Word) -> list[str]:
    tag = walk.state[0]
    return [f"{tag}{after.word} {second.word}", f"{tag}{word.shape}{after.sort}{second.sort}"]


def _shapes(walk: Walk, word: Word, after: Word, second: Word) -> list[str]:
    own = walk.state[0] + word.shape
    last = walk.last.shape
    return [
        f"{walk.state[0]}{last}{word.shape}{after.shape}",
        f"{walk.before.shape}{last}{own}",
        f"{second.shape}{after.shape}{own}",
    ]


def _alone(walk: Walk, word: Word, after: Word) -> list[str]:
    if walk.state == "O":
        return [f"{walk.before.word} {walk.last.word}", ""]
    return ["", f"{walk.state[0]}{walk.commas}{walk.lines}{word.shape}{after.shape}"]


def features(walk: Walk, word: Word, after: Word, second: Word) -> list[str]:
    """One value for each of the model's tables. A word that is not visible yet is NONE."""
    values = [
        *_own(walk, word),
        *_before(walk, word),
        *_after(walk, word, after),
        *_ahead(walk, word, after, second),
        *_shapes(walk, word, after, second),
        *_alone(walk, word, after),
    ]
    return [values[place] for place in _ORDER]


class _Sums:
    """Of one group's weights, by what the group looks at; most of it was met before."""

    def __init__(self, tables: Sequence[dict[str, int]], group: Sequence[int]) -> None:
        self.met: dict[tuple[str, ...], int] = {}
        self._tables = [tables[number] for number in group]

    def note(self, key: tuple[str, ...], values: list[str]) -> int:
        if len(self.met) >= _MEMORY:
            self.met.clear()
        found = 0
        for place, table in enumerate(self._tables):
            found += table.get(values[place], 0)
        self.met[key] = found
        return found


class Scores:
    """The tagger's weights, ready for use."""

    def __init__(self, weights: Weights, margin: float) -> None:
        """`margin`: what being out of any entity is given."""
        tables = [{value: _packed(row) for value, row in table.items()} for table in weights]
        self._base = _packed([margin]) + sum(_BIAS << place for place in _PLACES)
        self._own, self._before, self._after = _Sums(tables, _OWN), _Sums(tables, _BEFORE), _Sums(tables, _AFTER)
        self._ahead, self._shapes = _Sums(tables, _AHEAD), _Sums(tables, _SHAPES)
        self._last = 0  # total of the word that was looked at last
        self._words_before, self._inside = (tables[number] for number in _ALONE)

    def best(self, allowed: Sequence[int], walk: Walk, word: Word, after: Word, second: Word) -> int:
        """Of the tags that may stand here; the first of equals."""
        total = self._last = self._total(walk, word, after, second)
        chosen, most = OUT, -1
        for tag in allowed:
            score = total >> _PLACES[tag] & _ONE_SCORE
            if score > most:
                chosen, most = tag, score
        return chosen

    def lead(self, tag: int) -> float:
        """By how much the tag, at the word that was looked at last, beats being out of any entity, in log odds."""
        return ((self._last >> _PLACES[tag] & _ONE_SCORE) - (self._last & _ONE_SCORE)) / 100

    def _total(self, walk: Walk, word: Word, after: Word, second: Word) -> int:
        state, last, before = walk.state, walk.last, walk.before
        total = self._base
        key: tuple[str, ...] = (state, word.text)
        one = self._own.met.get(key)
        total += self._own.note(key, _own(walk, word)) if one is None else one
        key = (state, walk.line_led, last.kind, word.kind)
        one = self._before.met.get(key)
        total += self._before.note(key, _before(walk, word)) if one is None else one
        key = (state, walk.line_led, word.kind, after.kind)
        one = self._after.met.get(key)
        total += self._after.note(key, _after(walk, word, after)) if one is None else one
        key = (state, word.shape, after.kind, second.kind)
        one = self._ahead.met.get(key)
        total += self._ahead.note(key, _ahead(walk, word, after, second)) if one is None else one
        key = (state, before.shape, last.shape, word.shape, after.shape, second.shape)
        one = self._shapes.met.get(key)
        total += self._shapes.note(key, _shapes(walk, word, after, second)) if one is None else one
        if state == "O":
            return total + self._words_before.get(f"{before.word} {last.word}", 0)
        return total + self._inside.get(f"{state[0]}{walk.commas}{walk.lines}{word.shape}{after.shape}", 0)


def _packed(row: Sequence[float]) -> int:
    if max(map(abs, row)) > MOST:
        raise ValueError(f"a weight of {max(map(abs, row))} is above {MOST}")
    return sum(round(100 * weight) << place for weight, place in zip(row, _PLACES, strict=False))

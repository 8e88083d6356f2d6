"""A text's words, in Latin, Greek and Cyrillic letters and in ideographs, and where each stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.guard.redaction.charset import kinds_of
from services.guard.redaction.named.words import HAN, LETTERS, NONE, Lexicon, Word

if TYPE_CHECKING:
    from mypy_extensions import i64

# Characters of one token: longer words come in pieces, so that a look-ahead of 16 sees where one ends.
_LONGEST: Final = 15
_HAN_LONGEST: Final = 12
_POINTS: Final = 1 << 16
_OTHER: Final = 0
_IDEOGRAPH: Final = 3
_BLANK: Final = 4
_KINDS: Final = kinds_of(LETTERS, "0-9", "\u4e00-\u9fff", "^\\S\\n")


def token_end(text: str, start: i64) -> i64:
    """Where the token ends that begins at `start`: letters, digits or ideographs, as many of one kind as it may have;
    's as a whole; or any other character, white space but for a line's end left out."""
    size: i64 = len(text)
    point: i64 = ord(text[start])
    kind: i64 = _KINDS[point] if point < _POINTS else _OTHER
    end = start + 1
    if kind == _OTHER:
        if (point == 0x27 or point == 0x2019) and text[start + 1 : start + 2] == "s":
            behind = text[start + 2 : start + 3]
            return end if behind.isalnum() or behind == "_" else end + 1
        return end
    size = min(size, start + (_HAN_LONGEST if kind == _IDEOGRAPH else _LONGEST))
    while end < size:
        point = ord(text[end])
        if point >= _POINTS or _KINDS[point] != kind:
            break
        end += 1
    return end


class Rest:
    """Words that were read and are not decided, and how many characters lead from the beginning of the first to each,
    and to what comes next."""

    __slots__ = ("places", "size", "words")

    def __init__(self, words: list[Word], places: list[int], size: int) -> None:
        self.words, self.places, self.size = words, places, size


class Passage:
    """A text's words from `start` on."""

    def __init__(self, lexicon: Lexicon, text: str, start: int = 0, rest: Rest | None = None) -> None:
        """`rest`: of a passage in the same text, from `start` on, when it was shorter."""
        self._lexicon, self.text, self._start, self.size = lexicon, text, start, len(text)
        self.words: list[Word] = []
        self._places: list[int] = []  # where each begins, from `start` on
        self._begins: list[int] = []  # those that a name or an address may begin with, in order
        self._passed = 0  # of these, by next_begin
        if rest is not None:
            self.words, self._places = rest.words, rest.places
            self._begins = [place for place, word in enumerate(rest.words) if word.may_begin]
        self._read(text, start if rest is None else start + rest.size)

    def _read(self, text: str, start: i64) -> None:
        words, known, begin = self.words, self._lexicon.known, self._start
        size: i64 = len(text)
        place = start
        while place < size:
            point: i64 = ord(text[place])
            if point < _POINTS and _KINDS[point] == _BLANK:
                place += 1
                continue
            end = token_end(text, place)
            said = text[place:end]
            word = known.get(said)
            if word is None:
                word = self._lexicon.read(said)
            if word.may_begin:
                self._begins.append(len(words))
            words.append(word)
            self._places.append(place - begin)
            place = end

    @property
    def spans(self) -> list[tuple[int, int]]:
        return [self.span(place) for place in range(len(self.words))]

    def span(self, place: int) -> tuple[int, int]:
        start = self.begin(place)
        return start, start + len(self.words[place].text)

    def begin(self, place: int) -> int:
        return self._start + self._places[place]

    def end(self, place: int) -> int:
        return self.begin(place) + len(self.words[place].text)

    def next_begin(self, place: int) -> int | None:
        """The first word from `place` on that a name or an address may begin with; asked from left to right."""
        begins = self._begins
        while self._passed < len(begins) and begins[self._passed] < place:
            self._passed += 1
        return begins[self._passed] if self._passed < len(begins) else None

    def rest(self, place: int) -> Rest | None:
        """The words from `place` on but the last, which more text may change."""
        last = len(self.words) - 1
        if place >= last:
            return None
        first = self._places[place]
        places = [one - first for one in self._places[place:last]]
        return Rest(self.words[place:last], places, self._places[last] - first)

    def complete(self, place: int, limit: int) -> bool:
        """Whether the characters before `limit` show where the word ends."""
        word, start = self.words[place], self.begin(place)
        end = start + len(word.text)
        if end + 2 <= limit:
            return True
        character, longest = word.text[0], _HAN_LONGEST if word.shape == HAN else _LONGEST
        if character.isalnum():
            return end < limit or (end == limit and end - start == longest)
        return end <= limit and character not in "'’"

    def following(self, place: int, look_ahead: int | None) -> tuple[Word, Word]:
        """The next two words, as far as they can be seen."""
        words = self.words
        if look_ahead is None:
            after, second = words[place + 1 : place + 2], words[place + 2 : place + 3]
            return after[0] if after else NONE, second[0] if second else NONE
        limit = min(self.size, self.begin(place) + look_ahead)
        if self.shows_two(place, look_ahead):
            return words[place + 1], words[place + 2]
        return self._seen(place + 1, limit), self._seen(place + 2, limit)

    def shows_two(self, place: int, look_ahead: int) -> bool:
        """Whether the next two words are there and end within the look-ahead, so that more text changes neither."""
        limit = min(self.size, self.begin(place) + look_ahead)
        return place + 2 < len(self.words) and self.end(place + 2) + 2 <= limit

    def _seen(self, place: int, limit: int) -> Word:
        if place >= len(self.words) or self.begin(place) >= limit:
            return NONE
        start, end = self.begin(place), self.end(place)
        if self.complete(place, limit) or (limit == self.size and end <= limit):
            return self.words[place]
        return self._lexicon.read_beginning(self.words[place].text[: limit - start])

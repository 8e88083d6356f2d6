"""Chinese postal addresses in a text that arrives in pieces, each decided by the characters it begins with."""

from collections.abc import Iterator

from services.guard.redaction.named.chinese_addresses import (
    HARD,
    STREET,
    Grammar,
    Reading,
    clause,
    next_number,
    numbers,
    tail,
)
from services.guard.redaction.named.entity import ADDRESS, LOOK_AHEAD, Entity, Reader

_SHORTEST = 5


class _Events:
    """What an address may begin with, from left to right: no text is searched to its end again and again."""

    def __init__(self, grammar: Grammar, text: str, start: int) -> None:
        self._grammar, self._text = grammar, text
        self._division = grammar.next_division(text, start)
        self._number = next_number(text, start)

    def next(self, start: int) -> tuple[int, int, bool] | None:
        """Where the first one begins, from `start` on, and ends; and whether it is a number."""
        if self._division is not None and self._division[0] < start:
            self._division = self._grammar.next_division(self._text, start)
        if self._number is not None and self._number[0] < start:
            self._number = next_number(self._text, start)
        division, number = self._division, self._number
        if number is not None and (division is None or number[0] < division[0]):
            return number[0], number[1], True
        return None if division is None else (division[0], division[1], False)


class AddressReader(Reader):
    """Two things begin an address: divisions in a row (province, city, district), which are enough before any number is
    there, and the number of a house within LOOK_AHEAD of a clause's or a division's start. What was begun is read part
    by part, each within LOOK_AHEAD of its own beginning."""

    def __init__(self, grammar: Grammar) -> None:
        super().__init__()
        self._grammar = grammar
        self._done = 0  # where the last address ended

    def read(self, text: str, start: int, ended: bool) -> tuple[list[Entity], int]:
        """Addresses that are complete, and up to where the text is decided."""
        found: list[Entity] = []
        size = len(text)
        open_from = size if ended else tail(text, max(start, size - LOOK_AHEAD))
        position = start
        events = None if text.isascii() else _Events(self._grammar, text, start)  # no part of a place's name
        while events is not None and (event := events.next(position)) is not None:
            begin, end, is_number = event
            reading = self._number(text, begin, end) if is_number else self._grammar.read(text, begin, LOOK_AHEAD)
            last = max(end, reading.end if reading else 0)
            if not ended and open_from <= last and last + LOOK_AHEAD > size:
                return found, min(open_from, *self._starts(text, begin, reading))
            if reading is not None and self._begins(text, end, reading, is_number):
                self._done = reading.address_end or reading.end
                found.append(Entity(ADDRESS, reading.start, self._done))
            position = max(end if is_number else begin + 1, self._done)
        return found, max(position if ended else open_from, self._done, start)

    def _starts(self, text: str, begin: int, reading: Reading | None) -> Iterator[int]:
        """Where what is not decided yet may begin: a division, and each number behind it, whose clause is older."""
        yield len(text) if reading is None else reading.start
        for number, end in numbers(text, begin):
            if later := self._number(text, number, end):
                yield later.start

    def _number(self, text: str, number: int, end: int) -> Reading | None:
        """The reading that holds the number, of those that begin where one may."""
        furthest = max(self._done, end - LOOK_AHEAD, 0)
        low = clause(text, furthest, number)
        for start in self._grammar.starts(text, low, number):
            if start == furthest and start > self._done and HARD.match(text[start - 1]) is None:
                continue  # the middle of a clause: where it begins is too far back
            reading = self._grammar.read(text, start, LOOK_AHEAD)
            if reading.end > number and reading.address_end is not None:
                return reading
        return None

    def _begins(self, text: str, end: int, reading: Reading, is_number: bool) -> bool:
        seen = self._grammar.read(text, reading.start, LOOK_AHEAD, LOOK_AHEAD)
        if is_number:
            street = STREET.search(text, reading.start, reading.start + LOOK_AHEAD) is not None
            return end - reading.start >= _SHORTEST and (seen.levels > 0 or street)
        if seen.levels < 2:
            return False
        view_end = reading.start + LOOK_AHEAD
        within = tail(text[: min(view_end, len(text))], reading.start) <= seen.end and view_end <= len(text)
        return seen.address_end is not None or within

    def shift(self, count: int) -> None:
        """The text's first `count` characters are gone."""
        self._done -= count

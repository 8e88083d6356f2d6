"""Chinese postal addresses in a text that arrives in pieces, each decided by the characters it begins with."""

import re
from collections.abc import Iterator

from services.guard.redaction.named.chinese_addresses import HARD, NUMBERED, STREET, Grammar, Reading, clause, tail
from services.guard.redaction.named.entity import ADDRESS, LOOK_AHEAD, Entity

_SHORTEST = 5


class AddressReader:
    """Reads from left to right. Two things begin an address: divisions in a row (province, city, district), which are
    enough before any number is there, and the number of a house within LOOK_AHEAD of a clause's or a division's start.
    What was begun is read part by part, each within LOOK_AHEAD of its own beginning."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._done = 0  # where the last address ended
        self.open: Entity | None = None  # it never waits for one to grow

    def read(self, text: str, start: int, ended: bool) -> tuple[list[Entity], int]:
        """Addresses that are complete, and up to where the text is decided."""
        found: list[Entity] = []
        size = len(text)
        open_from = size if ended else tail(text, max(start, size - LOOK_AHEAD))
        position = start
        while (event := self._event(text, position)) is not None:
            match, is_number = event
            reading = self._number(text, match) if is_number else self._grammar.read(text, match.start(), LOOK_AHEAD)
            last = max(match.end(), reading.end if reading else 0)
            if not ended and open_from <= last and last + LOOK_AHEAD > size:
                return found, min(open_from, *self._starts(text, match, reading))
            if reading is not None and self._begins(text, match, reading, is_number):
                self._done = reading.address_end or reading.end
                found.append(Entity(ADDRESS, reading.start, self._done))
            position = max(match.end() if is_number else match.start() + 1, self._done)
        return found, max(position if ended else open_from, self._done, start)

    def _starts(self, text: str, match: re.Match[str], reading: Reading | None) -> Iterator[int]:
        """Where what is not decided yet may begin: a division, and each number behind it, whose clause is older."""
        yield len(text) if reading is None else reading.start
        for number in NUMBERED.finditer(text, match.start()):
            if later := self._number(text, number):
                yield later.start

    def _event(self, text: str, position: int) -> tuple[re.Match[str], bool] | None:
        if text.isascii():  # no part of a place's name
            return None
        division = self._grammar.division.search(text, position)
        number = NUMBERED.search(text, position)
        if division is None:
            return None if number is None else (number, True)
        if number is None or division.start() <= number.start():
            return division, False
        return number, True

    def _number(self, text: str, match: re.Match[str]) -> Reading | None:
        """The reading that holds the number, of those that begin where one may."""
        furthest = max(self._done, match.end() - LOOK_AHEAD, 0)
        low = clause(text, furthest, match.start())
        for start in self._grammar.starts(text, low, match.start()):
            if start == furthest and start > self._done and HARD.match(text[start - 1]) is None:
                continue  # the middle of a clause: where it begins is too far back
            reading = self._grammar.read(text, start, LOOK_AHEAD)
            if reading.end > match.start() and reading.address_end is not None:
                return reading
        return None

    def _begins(self, text: str, match: re.Match[str], reading: Reading, is_number: bool) -> bool:
        seen = self._grammar.read(text, reading.start, LOOK_AHEAD, LOOK_AHEAD)
        if is_number:
            street = STREET.search(text, reading.start, reading.start + LOOK_AHEAD) is not None
            return match.end() - reading.start >= _SHORTEST and (seen.levels > 0 or street)
        if seen.levels < 2:
            return False
        view_end = reading.start + LOOK_AHEAD
        within = tail(text[: min(view_end, len(text))], reading.start) <= seen.end and view_end <= len(text)
        return seen.address_end is not None or within

    def shift(self, count: int) -> None:
        """The text's first `count` characters are gone."""
        self._done -= count

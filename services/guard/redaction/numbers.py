"""Reads every number that a stretch may hold, once, for all the classes that are numbers."""

from collections.abc import Sequence

from services.guard.redaction.finding import Match
from services.guard.redaction.number import MOST_DIGITS, Group, NumberShape, Reading, groups_of
from services.guard.redaction.stretch import Stretch


class Numbers:
    """Tries each run of groups whose digits are as many as a class has; the classes in their order."""

    def __init__(self, shapes: Sequence[NumberShape]) -> None:
        self._by_length: dict[int, list[NumberShape]] = {}
        for shape in shapes:
            for length in shape.lengths:
                self._by_length.setdefault(length, []).append(shape)
        self._least = min(self._by_length)

    def find(self, stretch: Stretch) -> list[Match]:
        if len(stretch.content) < self._least:
            return []
        groups = groups_of(stretch)
        text = stretch.numerals if stretch.has_chinese_digits else stretch.text
        found: list[Match] = []
        done = 0  # a longer number of the same kind is not looked for inside one
        for first, group in enumerate(groups):
            if group.start >= done:
                matches = self._from(stretch, groups, first, text)
                found += matches
                done = max([done, *(match.end for match in matches)])
        return found

    def _from(self, stretch: Stretch, groups: list[Group], first: int, text: str) -> list[Match]:
        number, last = "", first
        found: list[Match] = []
        while True:
            group = groups[last]
            number += text[group.start : group.end]
            if len(number) > MOST_DIGITS:
                break
            for shape in self._by_length.get(len(number), ()):
                reading = Reading(stretch, groups, first, last, number)
                value = shape.accepts(reading)
                if value is not None:
                    start = reading.opening if shape.opens else reading.start
                    found.append(Match(shape.entity, start, reading.end, value, shape.rule))
            last += 1
            if last == len(groups) or not groups[last].linked:
                break
        return [max(found, key=lambda match: match.end)] if found else []

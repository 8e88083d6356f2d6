"""Reads every number that a stretch may hold, once, for all the classes that are numbers."""

from collections.abc import Sequence

from services.guard.redaction.finding import Match
from services.guard.redaction.number import MOST_DIGITS, Group, Lead, NumberShape, Reading, groups_of, joined
from services.guard.redaction.stretch import Stretch

OPENING = 3  # characters of a bracket and a plus sign before a number
FEW_GROUPS = 6  # of more than so many none is longer than the one before: what is spelled out, and no row of a table


class Numbers:
    """Tries each run of groups whose digits are as many as a class has; the classes in their order."""

    def __init__(self, shapes: Sequence[NumberShape]) -> None:
        self._by_length: dict[int, list[NumberShape]] = {}
        for shape in shapes:
            for length in shape.lengths:
                self._by_length.setdefault(length, []).append(shape)
        self._least = min(self._by_length)

    def find(self, stretch: Stretch) -> list[Match]:
        if stretch.digits < self._least and not stretch.has_chinese_digits:
            return []
        groups = groups_of(stretch)
        found: list[Match] = []
        done = 0  # a longer number of the same kind is not looked for inside one
        until = stretch.end if stretch.whole else stretch.until + OPENING  # the rest is the next stretch's
        for first, group in enumerate(groups):
            if group.start >= until:
                break
            goes_on = first + 1 < len(groups) and groups[first + 1].linked
            if group.start >= done and (goes_on or group.end - group.start >= self._least):
                match = self._from(stretch, groups, first)
                if match:
                    found.append(match)
                    done = match.end
        return found

    def _from(self, stretch: Stretch, groups: list[Group], first: int) -> Match | None:
        number, last = "", first
        pieces, before, now = 0, 0, 0  # that separators make, and the digits of the last two
        among = joined(groups[first])
        lead = Lead(stretch, groups[first].start)
        best: Match | None = None
        while True:
            group = groups[last]
            if group.gap or last == first:
                pieces, before, now = pieces + 1, now, 0
            now += group.end - group.start
            if pieces > FEW_GROUPS and now > before:
                break
            number += stretch.numerals[group.start - stretch.start : group.end - stretch.start]
            if len(number) > MOST_DIGITS:
                break
            for shape in self._by_length.get(len(number), ()):
                if (among and shape.alone) or (shape.beginnings is not None and number[0] not in shape.beginnings):
                    continue
                reading = Reading(stretch, groups, first, last, number, lead)
                value = shape.accepts(reading)
                if value is not None and (best is None or reading.end > best.end):
                    start = reading.opening if shape.opens else reading.start
                    best = Match(shape.entity, start, reading.end, value, shape.rule)
            last += 1
            if last == len(groups) or not groups[last].linked:
                return best
        return best

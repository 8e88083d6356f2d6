"""Reads every number that a stretch may hold, once, for all the classes that are numbers."""

from collections.abc import Sequence
from itertools import product
from string import digits

from services.guard.redaction.finding import Match
from services.guard.redaction.lead import Lead
from services.guard.redaction.number import MOST_DIGITS, Groups, NumberShape, Reading, groups_of
from services.guard.redaction.stretch import Stretch

OPENING = 3  # characters of a bracket and a plus sign before a number
FEW_GROUPS = 6  # of more than so many none is longer than the one before: what is spelled out, and no row of a table


class Numbers:
    """Tries each run of groups whose digits are as many as a class has; the classes in their order."""

    def __init__(self, shapes: Sequence[NumberShape]) -> None:
        # By how many digits there are, and the first.
        self._fitting: list[dict[str, list[NumberShape]]] = [{} for _ in range(MOST_DIGITS + 1)]
        for shape in shapes:
            for length, first in product(shape.lengths, shape.beginnings or digits):
                self._fitting[length].setdefault(first, []).append(shape)
        self._least = next(length for length, fitting in enumerate(self._fitting) if fitting)
        self.screen, self.said, self.least, self.digits = "", 0, 1, 0

    def find(self, stretch: Stretch) -> list[Match]:
        if stretch.digits < self._least and not stretch.has_chinese_digits:
            return []
        groups = groups_of(stretch)
        starts, count = groups.starts, len(groups.starts)
        found: list[Match] = []
        done = 0  # a longer number of the same kind is not looked for inside one
        until = stretch.end if stretch.whole else stretch.until + OPENING  # the rest is the next stretch's
        for first, start in enumerate(starts):
            if start >= until:
                break
            goes_on = first + 1 < count and groups.linked[first + 1]
            if start >= done and (goes_on or groups.ends[first] - start >= self._least):
                match = self._from(stretch, groups, first)
                if match:
                    found.append(match)
                    done = match.end
        return found

    def _from(self, stretch: Stretch, groups: Groups, first: int) -> Match | None:
        starts, ends, base, numerals = groups.starts, groups.ends, stretch.start, stretch.numerals
        number, last = "", first
        pieces, before, now = 0, 0, 0  # that separators make, and the digits of the last two
        lead: Lead | None = None
        best: Match | None = None
        while True:
            start, end = starts[last], ends[last]
            if groups.gaps[last] or last == first:
                pieces, before, now = pieces + 1, now, 0
            now += end - start
            if pieces > FEW_GROUPS and now > before:
                return best
            number += numerals[start - base : end - base]
            if len(number) > MOST_DIGITS:
                return best
            for shape in self._fitting[len(number)].get(number[0], ()):
                if (shape.alone and groups.joined(first)) or not shape.may_be(number, stretch, end):
                    continue
                lead = lead or Lead(stretch, starts[first])
                best = _better(best, shape, Reading(stretch, groups, first, last, number, lead))
            last += 1
            if last == len(starts) or not groups.linked[last]:
                return best


def _better(best: Match | None, shape: NumberShape, reading: Reading) -> Match | None:
    """The longer one; of two alike the one whose class comes first."""
    value = shape.accepts(reading)
    if value is None or (best is not None and reading.end <= best.end):
        return best
    return Match(shape.entity, reading.opening if shape.opens else reading.start, reading.end, value, shape.rule)

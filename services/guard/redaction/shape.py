"""A class of data that a pattern describes, with what the pattern cannot say checked by a function."""

import re
from collections.abc import Callable
from typing import NamedTuple

from services.guard.redaction.finding import Match
from services.guard.redaction.stretch import Stretch

Accepts = Callable[[re.Match[str], Stretch], str | None]
_NONE: list[Match] = []
MOST_TRIES = 64  # candidates of one class in one stretch


class Shape(NamedTuple):
    """A recognizer: `accepts` gives the plain form of a candidate, or None. What rules out most stretches at once:
    `least` characters, `digits`, an ASCII letter (`letters`), one of the characters in `needs`, one of the words in
    `said`, in it or before it. `goes_on`: what a match is made of that reaches the end of a stretch which goes on."""

    entity: str
    rule: str
    pattern: re.Pattern[str]
    accepts: Accepts
    digits: int = 0
    needs: str = ""
    letters: bool = False
    least: int = 1
    said: tuple[str, ...] = ()
    goes_on: str = ""
    endless: bool = False  # it goes on behind any stretch

    def find(self, stretch: Stretch) -> list[Match]:
        if stretch.end - stretch.start < self.least or (self.letters and not stretch.has_letters):
            return _NONE
        if stretch.digits < self.digits or (self.needs and not stretch.has_any(self.needs)):
            return _NONE
        if self.said and not stretch.says(self.said):
            return _NONE
        found: list[Match] = []
        at = stretch.start
        for _ in range(MOST_TRIES):
            match = self.pattern.search(stretch.text, at, stretch.end)
            if match is None:
                break
            value = self.accepts(match, stretch)
            if value is None:
                at = match.start() + 1
                continue
            start, end = match.span()
            reaches = self.endless or (end == stretch.end and not stretch.whole)
            found.append(Match(self.entity, start, end, value, self.rule, self.goes_on if reaches else ""))
            at = max(end, match.start() + 1)
        return found


def value_of(match: re.Match[str]) -> str:
    """Without what separates, in capitals."""
    return re.sub(r"[ \-·.]", "", match.group()).upper()

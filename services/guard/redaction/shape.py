"""A class of data that a pattern describes, with what the pattern cannot say checked by a function."""

import re
from collections.abc import Callable
from typing import NamedTuple

from services.guard.redaction.finding import Match
from services.guard.redaction.stretch import Stretch

Accepts = Callable[[re.Match[str], Stretch], str | None]
MOST_TRIES = 64  # candidates of one class in one stretch


class Shape(NamedTuple):
    """A recognizer: `accepts` gives the plain form of a candidate, or None. What rules out most stretches at once: the
    `screen`, the kinds of words of which one must be `said`, and how many characters and digits a stretch must have.
    `goes_on`: what a match is made of that reaches the end of a stretch which goes on."""

    entity: str
    rule: str
    pattern: re.Pattern[str]
    accepts: Accepts
    screen: str = ""
    said: int = 0
    least: int = 1
    digits: int = 0
    goes_on: str = ""
    endless: bool = False  # it goes on behind any stretch
    cut_off: bool = False  # it is only there where the stretch goes on
    not_ascii: bool = False  # it has a character in it that is not ASCII

    def find(self, stretch: Stretch) -> list[Match]:
        found: list[Match] = []
        if (self.cut_off and stretch.whole) or (self.not_ascii and stretch.content.isascii()):
            return found
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

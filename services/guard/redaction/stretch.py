"""A stretch of text without a break that personal data of a structured class could not cross."""

import re
from typing import NamedTuple, Protocol

from services.guard.redaction.characters import AS_DIGITS, CHINESE_DIGITS
from services.guard.redaction.finding import Match
from services.guard.redaction.said import said_in

BEHIND = 48  # characters before a candidate whose words may say what it is
AHEAD = 14  # characters after it

_CHINESE_DIGIT = re.compile(f"[{CHINESE_DIGITS}]")


class Undecided(Exception):
    """The window ends before the decision does."""


class Stretch:
    """Characters [start, end) of the window's plain text. Not `whole`: it goes on, and what begins behind `until` is
    left to the next one."""

    def __init__(self, text: str, start: int, end: int, until: int, *, whole: bool, ended: bool) -> None:
        self.text, self.start, self.end, self.until = text, start, end, until
        self.whole = whole
        self._ended = ended
        self.content = text[start:end]
        self._digits: int | None = None
        self._said: int | None = None
        self._numerals: str | None = None

    @property
    def digits(self) -> int:
        """How many ASCII ones."""
        if self._digits is None:
            self._digits = _digits_in(self.content)
        return self._digits

    @property
    def said(self) -> int:
        """The kinds of words in it and before it."""
        if self._said is None:
            self._said = said_in(self.before(self.start) + self.content.lower())
        return self._said

    def says(self, kinds: int) -> bool:
        """Whether there may be one of these kinds of words: what is not there need not be looked for."""
        return self.said & kinds != 0

    @property
    def numerals(self) -> str:
        """Its content, with Chinese digits read."""
        if self._numerals is None:
            content = self.content
            read = not content.isascii() and _CHINESE_DIGIT.search(content) is not None
            self._numerals = content.translate(AS_DIGITS) if read else content
        return self._numerals

    @property
    def has_chinese_digits(self) -> bool:
        return self.numerals is not self.content

    def before(self, place: int, length: int = BEHIND) -> str:
        """In lower case."""
        return self.text[max(0, place - length) : place].lower()

    def after(self, place: int, length: int = AHEAD) -> str:
        """In lower case, exactly as many characters unless the text ends; else raises Undecided."""
        if place + length > len(self.text) and not self._ended:
            raise Undecided
        return self.text[place : place + length].lower()

    def may_follow(self, words: "Words", place: int) -> bool:
        """Most often the first character says that none of them stands at `place`, or the first behind a gap."""
        text = self.text
        if place >= len(text):
            return True
        if text[place] in words.gap:
            behind = text[place : place + 4].lstrip(words.gap)  # one more than any gap has
            return not behind or behind[0] in words.beginnings
        return text[place] in words.beginnings

    def follows(self, words: "Words", place: int) -> bool:
        """Whether one of them stands at `place`."""
        if not self.may_follow(words, place):
            return False
        seen = self.text[place : place + AHEAD].lower()
        if len(seen) < AHEAD and not self._ended and words.may_go_on(seen):
            raise Undecided
        return words.pattern.match(seen) is not None

    def character_before(self, place: int) -> str:
        return self.text[place - 1] if place else ""


def _digits_in(text: str) -> int:
    """Compiled, no character becomes an object."""
    count = 0
    for place in range(len(text)):
        count += 48 <= ord(text[place]) <= 57
    return count


class Words(NamedTuple):
    """What may stand behind a candidate, and every character that it may begin with, in either case. `literals`: each
    word that the pattern has, whole; `gap`: what may stand before it."""

    pattern: re.Pattern[str]
    beginnings: str
    literals: tuple[str, ...]
    gap: str

    def may_go_on(self, seen: str) -> bool:
        """Whether more text could change what the pattern says of this: a word is there in part, or up to its end,
        behind which the pattern looks one character ahead."""
        word = seen.lstrip(self.gap)
        return any(literal.startswith(word) for literal in self.literals)


class Recognizer(Protocol):
    """Finds the data of one class by structure, checksum and context. What it decides depends on the stretch, on
    BEHIND characters before a candidate and AHEAD after it; on nothing else."""

    @property
    def screen(self) -> str:
        """What every match has in it, as a pattern for RE2 that counts nothing: each state of a count is one more for
        every other pattern's, and texts would go on meeting new ones. Empty where nothing is known."""
        ...

    @property
    def said(self) -> int:
        """The kinds of words one of which must stand in a stretch or before it; 0 where none must."""
        ...

    @property
    def least(self) -> int:
        """Characters that a stretch must have."""
        ...

    @property
    def digits(self) -> int:
        """And ASCII digits."""
        ...

    def find(self, stretch: Stretch) -> list[Match]: ...

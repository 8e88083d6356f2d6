"""A stretch of text without a break that personal data of a structured class could not cross."""

import re
from functools import cached_property
from typing import NamedTuple, Protocol

from services.guard.redaction.characters import AS_DIGITS, CHINESE_DIGITS
from services.guard.redaction.finding import Match

BEHIND = 48  # characters before a candidate whose words may say what it is
AHEAD = 14  # characters after it

_DIGIT, _LETTER = re.compile("[0-9]"), re.compile("[A-Za-z]")
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

    @cached_property
    def content(self) -> str:
        return self.text[self.start : self.end]

    @cached_property
    def digits(self) -> int:
        """How many ASCII ones."""
        return len(_DIGIT.findall(self.content))

    @cached_property
    def has_letters(self) -> bool:
        return _LETTER.search(self.content) is not None

    @cached_property
    def numerals(self) -> str:
        """The whole window's text up to the end, with Chinese digits read."""
        text = self.text[: self.end]
        return text if text.isascii() else text.translate(AS_DIGITS)

    @cached_property
    def has_chinese_digits(self) -> bool:
        return not self.content.isascii() and _CHINESE_DIGIT.search(self.content) is not None

    def before(self, place: int, length: int = BEHIND) -> str:
        """In lower case."""
        return self.text[max(0, place - length) : place].lower()

    def after(self, place: int, length: int = AHEAD) -> str:
        """In lower case, exactly as many characters unless the text ends; else raises Undecided."""
        if place + length > len(self.text) and not self._ended:
            raise Undecided
        return self.text[place : place + length].lower()

    def follows(self, words: "Words", place: int) -> bool:
        """Whether one of them stands at `place`; most often the first character says that none does."""
        if place < len(self.text) and self.text[place] not in words.beginnings:
            return False
        return words.pattern.match(self.after(place)) is not None

    def character_before(self, place: int) -> str:
        return self.text[place - 1] if place else ""


class Words(NamedTuple):
    """What may stand behind a candidate, and every character that it may begin with, in either case."""

    pattern: re.Pattern[str]
    beginnings: str


class Recognizer(Protocol):
    """Finds the data of one class by structure, checksum and context. What it decides depends on the stretch, on
    BEHIND characters before a candidate and AHEAD after it; on nothing else."""

    def find(self, stretch: Stretch) -> list[Match]: ...

"""What is found: a match by a recognizer, a span for the text, a finding for the record."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, NamedTuple

from services.guard.redaction.window import Window


class Finding(NamedTuple):
    """Personal data at [start, end), in characters of the original text. It never carries the text it found."""

    entity: str
    start: int
    end: int
    level: str
    rule: str
    token: str = ""  # what stands in its place, where that can be undone


class Span:
    """Characters [start, end) of a class. A detector gives them by positions in the window's plain text, the redactor
    places them in the original. `origin` is where the match began, in characters of the original from the start.
    `value` is the plain form that masks are made of; None for a part of a match whose rest is not known, of which
    nothing may be shown. Only the last part is `complete`."""

    __slots__ = ("complete", "end", "entity", "origin", "rule", "start", "value")

    def __init__(
        self, entity: str, start: int, end: int, value: str | None, rule: str, origin: int, complete: bool = True
    ) -> None:
        self.entity, self.start, self.end, self.value = entity, start, end, value
        self.rule, self.origin, self.complete = rule, origin, complete


class Detector(ABC):
    """Reads a window from where it stopped. `settled` is the position before which nothing can change any more: what is
    decided about a place may depend on what follows only as far as the text itself says, never on where the window
    happens to end. Looks back at most LOOK_BACK characters."""

    def __init__(self) -> None:
        self.settled = 0

    @abstractmethod
    def advance(self, window: Window) -> list[Span]:
        """What became decided."""

    def shift(self, count: int) -> None:
        """The window's first `count` characters are gone."""
        self.settled -= count


LOOK_BACK: Final = 64  # characters of plain text that stay in the window behind what is settled


class Match:
    """What a recognizer found in a stretch. `goes_on`: the match reaches the stretch's end, where the text goes on;
    its class of characters says how far."""

    __slots__ = ("end", "entity", "goes_on", "rule", "start", "value")

    def __init__(self, entity: str, start: int, end: int, value: str, rule: str, goes_on: str = "") -> None:
        self.entity, self.start, self.end = entity, start, end
        self.value, self.rule, self.goes_on = value, rule, goes_on

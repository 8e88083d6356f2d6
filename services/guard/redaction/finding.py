"""What is found: a match by a recognizer, a span for the text, a finding for the record."""

from typing import NamedTuple, Protocol

from services.guard.redaction.window import Window


class Finding(NamedTuple):
    """Personal data at [start, end), in characters of the original text. It never carries the text it found."""

    entity: str
    start: int
    end: int
    level: str
    rule: str
    token: str = ""  # what stands in its place, where that can be undone


class Span(NamedTuple):
    """Characters [start, end) of a class. A detector gives them by positions in the window's plain text, the redactor
    places them in the original. `origin` is where the match began, in characters of the original from the start.
    `value` is the plain form that masks are made of; None for a part of a match whose rest is not known, of which
    nothing may be shown. Only the last part is `complete`."""

    entity: str
    start: int
    end: int
    value: str | None
    rule: str
    origin: int
    complete: bool = True


class Detector(Protocol):
    """Reads a window from where it stopped. `settled` is the position before which nothing can change any more: what is
    decided about a place may depend on what follows only as far as the text itself says, never on where the window
    happens to end. Looks back at most LOOK_BACK characters."""

    settled: int

    def advance(self, window: Window) -> list[Span]: ...

    def shift(self, count: int) -> None:
        """The window's first `count` characters are gone."""
        ...


LOOK_BACK = 64  # characters of plain text that stay in the window behind what is settled


class Match(NamedTuple):
    """What a recognizer found in a stretch. `goes_on`: the match reaches the stretch's end, where the text goes on;
    its class of characters says how far."""

    entity: str
    start: int
    end: int
    value: str
    rule: str
    goes_on: str = ""

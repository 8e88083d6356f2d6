"""What a detector hands on: a finding for the record, and a span for the text."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Finding:
    """Personal data at [start, end), in characters of the original text. It never carries the text it found."""

    entity: str
    start: int
    end: int
    level: str
    rule: str


@dataclass(frozen=True)
class Span:
    """Characters [start, end) that `mask` replaces. A match longer than its bound comes as several spans, of which
    only the last is `complete`; `origin` is where the match began."""

    entity: str
    start: int
    end: int
    mask: str
    rule: str
    origin: int
    complete: bool = True


@dataclass(frozen=True)
class Window:
    """The part of a text that is in memory: the characters, their classes, and whether the text ends here."""

    text: str
    kinds: str
    ended: bool

    def __len__(self) -> int:
        return len(self.text)


class Detector(Protocol):
    """Reads a window from where it stopped. `settled` is the position before which nothing can change any more."""

    settled: int

    def advance(self, window: Window) -> list[Span]: ...

    def shift(self, count: int) -> None:
        """The window's first `count` characters are gone."""
        ...

"""Where a model's reasoning ends and its answer begins, in a text that comes in pieces."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

OPEN, CLOSE = "<think>", "</think>"


class Parts(NamedTuple):
    """A text, apart."""

    reasoning: str = ""
    content: str = ""


class _Place(Enum):
    START = auto()  # nothing is decided: white space and opening marks at most
    INSIDE = auto()
    BEHIND = auto()  # white space behind the closing mark is part of it
    CONTENT = auto()  # for good: a mark from here on is text like any other


class Split:
    """Takes a text apart as it comes: the same parts for every way of cutting it into pieces.

    A text that does not begin with the opening mark is content, whatever follows; what has no closing mark stays
    reasoning. For a model whose template ends in the opening mark, its worker says it.
    """

    def __init__(self) -> None:
        self._place = _Place.START
        self._opened = False
        self._held = ""  # what may still become a mark

    @property
    def reasoned(self) -> bool:
        """The reasoning is over: all that follows is content."""
        return self._opened and self._place in (_Place.BEHIND, _Place.CONTENT)

    @property
    def unfinished(self) -> bool:
        """So far there is reasoning and no answer."""
        return self._opened and not self.reasoned

    def feed(self, text: str) -> Parts:
        """What is decided now."""
        self._held += text
        if self._place is _Place.START:
            self._begin()
        reasoning = self._inside() if self._place is _Place.INSIDE else ""
        if self._place is _Place.BEHIND:
            self._held = self._held.lstrip()
            self._place = _Place.CONTENT if self._held else _Place.BEHIND
        content = ""
        if self._place is _Place.CONTENT:
            content, self._held = self._held, ""
        return Parts(reasoning, content)

    @property
    def held(self) -> Parts:
        """What is not decided yet, as it would be if the text ended here."""
        return Parts(reasoning=self._held) if self.unfinished else Parts(content=self._held)

    def finish(self) -> Parts:
        """What was held back, once no more text can come."""
        held, self._held = self.held, ""
        return held

    def _begin(self) -> None:
        """Some models repeat the mark that their template has given them already."""
        text = self._held.lstrip()
        while text.startswith(OPEN):
            self._opened = True
            text = text.removeprefix(OPEN).lstrip()
        if self._opened:
            self._held = text
        if not OPEN.startswith(text):
            self._place = _Place.INSIDE if self._opened else _Place.CONTENT

    def _inside(self) -> str:
        reasoning, mark, behind = self._held.partition(CLOSE)
        if mark:
            self._held, self._place = behind, _Place.BEHIND
            return reasoning
        keep = max(n for n in range(len(CLOSE)) if self._held.endswith(CLOSE[:n]))
        out = len(self._held) - keep
        reasoning, self._held = self._held[:out], self._held[out:]
        return reasoning

"""The recognizers in their order, and those of them that the characters and the words of a stretch leave possible."""

from __future__ import annotations

from collections.abc import Sequence

import re2

from services.guard.redaction.stretch import Recognizer, Stretch

_MOST_MEMORY = 8 << 20  # bytes that RE2 may take for what it has seen of texts; then it begins anew


class Table:
    """Most stretches are what few recognizers look for: one pass over a stretch tells which of their screens it has."""

    def __init__(self, recognizers: Sequence[Recognizer], widest: int = 0) -> None:
        """`widest`: characters that those of a firm's own may find; 0 where there are none."""
        self.widest = widest
        self._recognizers = list(recognizers)
        self._said = [one.said for one in recognizers]
        self._least = [one.least for one in recognizers]
        self._digits = [one.digits for one in recognizers]
        options = re2.Options()
        options.max_mem = _MOST_MEMORY
        self._screens = re2.Set.SearchSet(options)
        self._unscreened: list[int] = []
        self._numbers: list[int] = []  # of the recognizers, by that of their screens
        for number, recognizer in enumerate(recognizers):
            if recognizer.screen:
                self._screens.Add(recognizer.screen)
                self._numbers.append(number)
            else:
                self._unscreened.append(number)
        self._screens.Compile()

    def fitting(self, stretch: Stretch) -> list[Recognizer]:
        numbers = self._unscreened
        hits = self._screens.Match(stretch.content)
        if hits:
            numbers = sorted(numbers + [self._numbers[hit] for hit in hits])
        size, digits = stretch.end - stretch.start, stretch.digits
        found: list[Recognizer] = []
        for number in numbers:
            if size >= self._least[number] and digits >= self._digits[number]:
                kinds = self._said[number]
                if not kinds or stretch.says(kinds):
                    found.append(self._recognizers[number])
        return found

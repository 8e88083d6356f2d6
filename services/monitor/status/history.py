"""The last quarter of an hour of every figure, one value a round."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from itertools import chain

from services.monitor.status.snapshot import History, Series


class FigureHistory:
    """Bounded: so many rounds, so many lines. NaN stands for what was not known in a round."""

    def __init__(self, rounds: int = 450, lines: int = 256) -> None:
        self._rounds, self._most = rounds, lines
        self._times = array("d")
        self._lines: dict[str, array[float]] = {}

    def add(self, at: float, values: Mapping[str, float]) -> None:
        if self._times and at <= self._times[-1]:  # the clock was set back
            self._times, self._lines = array("d"), {}
        for name in values:
            if name not in self._lines and len(self._lines) < self._most:
                self._lines[name] = array("d", [math.nan]) * len(self._times)
        for name, line in self._lines.items():
            line.append(values.get(name, math.nan))
        self._times.append(at)
        if len(self._times) > self._rounds + self._rounds // 8:
            self._cut()

    def read(self) -> History:
        first = max(len(self._times) - self._rounds, 0)
        series = {name: Series(values=_known(line[first:])) for name, line in self._lines.items()}
        return History(times=list(self._times[first:]), series=series)

    def _cut(self) -> None:
        del self._times[: -self._rounds]
        for line in self._lines.values():
            del line[: -self._rounds]
        self._lines = {name: line for name, line in self._lines.items() if not all(map(math.isnan, line))}


def _known(line: array[float]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in line]


def line_names(figures: Mapping[str, Mapping[tuple[str, ...], float]]) -> dict[str, float]:
    """Every value under its line's name: the figure's id, and the values of its labels after slashes."""
    return dict(
        chain.from_iterable(
            (("/".join((id, *key)), value) for key, value in values.items()) for id, values in figures.items()
        )
    )

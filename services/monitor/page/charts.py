"""A panel's lines as columns of numbers for the chart, and as an SVG for who has no JavaScript."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.monitor.page.panels import Panel
from services.monitor.status.snapshot import History

WINDOW_SECONDS = 15 * 60
WIDTH, HEIGHT = 400, 100  # of the SVG's own coordinates; it is stretched to its place
HEADROOM = 1.1
MAX_POINTS = 100
Column = list[float | None]


def columns(panel: Panel, history: History, after: float = 0.0) -> list[Column]:
    """Times, then each line's values, of the moments after `after`."""
    start = bisect_right(history.times, after)
    times: Column = [round(time, 1) for time in history.times[start:]]
    return [times, *([_shortened(value) for value in _values(line.series, history)[start:]] for line in panel.lines)]


def latest(series: str, history: History) -> float | None:
    """What the line says now."""
    values = _values(series, history)
    return values[-1] if values else None


def last_known(series: str, history: History) -> float | None:
    """What it said when it last said something."""
    return next((value for value in reversed(_values(series, history)) if value is not None), None)


@dataclass(frozen=True, slots=True)
class Drawing:
    """One SVG path a line, and one height a mark."""

    paths: Sequence[str]
    marks: Sequence[float]


def drawing(panel: Panel, history: History, marks: Sequence[float]) -> Drawing:
    """The same window and scale as the chart's."""
    lines = [_values(line.series, history) for line in panel.lines]
    top = panel.top or HEADROOM * max((value for values in lines for value in values if value is not None), default=0)
    if not history.times or top <= 0:
        return Drawing([], [])
    end, thinned = history.times[-1], slice((len(history.times) - 1) % _step(history), None, _step(history))
    across = [WIDTH * (1 - (end - time) / WINDOW_SECONDS) for time in history.times[thinned]]
    paths = [" ".join(_strokes(across, [_height(value, top) for value in values[thinned]])) for values in lines]
    return Drawing(paths, [_round(HEIGHT * (1 - mark / top)) for mark in marks if mark <= top])


def _step(history: History) -> int:
    """So that a line has about so many points as can be told apart; the last one is always among them."""
    return max(len(history.times) // MAX_POINTS, 1)


def _values(series: str, history: History) -> Sequence[float | None]:
    found = history.series.get(series)
    return found.values if found else [None] * len(history.times)


def _height(value: float | None, top: float) -> float | None:
    return None if value is None else HEIGHT * (1 - min(value, top) / top)


def _strokes(across: Sequence[float], heights: Sequence[float | None]) -> Iterator[str]:
    """Lifts the pen where nothing was known."""
    drawing = False
    for x, y in zip(across, heights, strict=True):
        if y is not None and x >= 0:
            yield f"{'L' if drawing else 'M'}{_round(x)} {_round(y)}"
        drawing = y is not None and x >= 0


def _round(value: float) -> float:
    return round(value, 1)


def _shortened(value: float | None) -> float | None:
    """Four digits: more than a screen shows."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")

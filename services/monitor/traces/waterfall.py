"""A trace as rows: who called whom, and where on the time axis."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.monitor.traces.span import Span
from services.monitor.traces.store import Trace


@dataclass(frozen=True, slots=True)
class Row:
    """One span in its place. `left` and `width` are shares of the trace's duration."""

    span: Span
    depth: int
    left: float
    width: float
    parent_missing: bool = False  # its parent has not arrived, or the parents form a ring

    @property
    def duration_ms(self) -> float:
        return (self.span.end_ns - self.span.start_ns) / 1e6


def rows(trace: Trace) -> list[Row]:
    """Depth first, children by start; every span exactly once, whatever its parent claims."""
    children: dict[str, list[Span]] = defaultdict(list)
    known = {span.span_id for span in trace.spans}
    tops = []
    for span in trace.spans:
        if span.parent_span_id in known and span.parent_span_id != span.span_id:
            children[span.parent_span_id].append(span)
        else:
            tops.append(span)
    placed: set[str] = set()
    result = []
    for top in [*tops, *trace.spans]:  # the second part finds only spans whose parents form a ring
        for span, depth in _descendants(top, children, placed):
            missing = depth == 0 and bool(span.parent_span_id)
            result.append(_row(span, depth, trace, missing))
    return result


def _descendants(top: Span, children: dict[str, list[Span]], placed: set[str]) -> Iterator[tuple[Span, int]]:
    waiting = [(top, 0)]
    while waiting:
        span, depth = waiting.pop()
        if span.span_id in placed:
            continue
        placed.add(span.span_id)
        yield span, depth
        waiting += [(child, depth + 1) for child in reversed(children[span.span_id])]


def _row(span: Span, depth: int, trace: Trace, parent_missing: bool) -> Row:
    whole_ns = max(trace.duration_ms * 1e6, 1)
    left = (span.start_ns - trace.start_ns) / whole_ns
    width = max(span.end_ns - span.start_ns, 0) / whole_ns
    return Row(span, depth, left, width, parent_missing)


def ticks(duration_ms: float, wanted: int = 5) -> Sequence[float]:
    """Round times for the axis, in milliseconds, from 0 to at most the duration."""
    if duration_ms <= 0:
        return [0.0]
    step = next(size for size in _STEPS if duration_ms / size <= wanted)
    return [step * n for n in range(int(duration_ms / step) + 1)]


_STEPS = [digit * 10.0**power for power in range(-6, 15) for digit in (1, 2, 5)]

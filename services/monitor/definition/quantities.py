"""The closed set of quantities that rules and figures are made of. Each is evaluated on samples, and says the same
in PromQL.

Quantity
├── Gauge         the values now, or their mean over a window, combined by max, min or sum
├── GaugePair     one sum of gauges divided by another, or less another
├── Age           how long ago a time was that a gauge holds
├── Increase      what counters rose by in a window, or that by the second
├── Ratio         one such rise divided by another
├── Quantile      of a histogram's observations in a window
├── Changes       how often a gauge became another value in a window
└── Absent        1 while there is no such series
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.monitor.definition.arithmetic import changes, divided, increase, quantile
from services.monitor.definition.selection import Labels, Samples, Selection

Key = tuple[str, ...]  # the values of a quantity's `by` labels, in their order
Values = Mapping[Key, float]

COMBINATIONS: Mapping[str, Callable[[Sequence[float]], float]] = {"max": max, "min": min, "sum": math.fsum}


class Quantity(Protocol):
    """A number for each combination of its `by` labels; no number where there is nothing to say."""

    @property
    def by(self) -> tuple[str, ...]: ...

    @property
    def window_seconds(self) -> float:
        """How far back it looks; 0 for what is so now."""
        ...

    @property
    def selections(self) -> tuple[Selection, ...]:
        """The series it reads."""
        ...

    @property
    def promql(self) -> str: ...

    def values(self, samples: Samples, now: float) -> Values: ...


@dataclass(frozen=True, kw_only=True)
class Gauge:
    of: Selection
    combine: str = "max"  # or min, sum
    by: tuple[str, ...] = ()
    window_seconds: float = 0.0  # the mean over this; 0 = now

    @property
    def selections(self) -> tuple[Selection, ...]:
        return (self.of,)

    @property
    def promql(self) -> str:
        read = f"avg_over_time({self.of.promql}[{span(self.window_seconds)}])" if self.window_seconds else None
        return _combined(self.combine, self.by, read or self.of.promql)

    def values(self, samples: Samples, now: float) -> Values:
        if not self.window_seconds:
            return _grouped(samples.current(self.of), self.by, self.combine)
        means = (
            (labels, math.fsum(value for _, value in points) / len(points))
            for labels, points in samples.points(self.of, now - self.window_seconds, now)
            if points
        )
        return _grouped(means, self.by, self.combine)


@dataclass(frozen=True, kw_only=True)
class GaugePair:
    left: Selection
    right: Selection
    divide: bool  # else subtract
    by: tuple[str, ...] = ()
    window_seconds: float = 0.0

    @property
    def selections(self) -> tuple[Selection, ...]:
        return (self.left, self.right)

    @property
    def promql(self) -> str:
        sums = [_combined("sum", self.by, selection.promql) for selection in self.selections]
        return (" / " if self.divide else " - ").join(sums)

    def values(self, samples: Samples, now: float) -> Values:
        left, right = (_grouped(samples.current(each), self.by, "sum") for each in self.selections)
        return _paired(left, right, divided if self.divide else lambda one, other: one - other)


@dataclass(frozen=True, kw_only=True)
class Age:
    of: Selection
    by: tuple[str, ...] = ()
    window_seconds: float = 0.0

    @property
    def selections(self) -> tuple[Selection, ...]:
        return (self.of,)

    @property
    def promql(self) -> str:
        return _combined("max", self.by, f"time() - {self.of.promql}")

    def values(self, samples: Samples, now: float) -> Values:
        return _grouped(((labels, now - value) for labels, value in samples.current(self.of)), self.by, "max")


@dataclass(frozen=True, kw_only=True)
class Increase:
    of: Selection
    window_seconds: float
    by: tuple[str, ...] = ()
    a_second: bool = False

    @property
    def selections(self) -> tuple[Selection, ...]:
        return (self.of,)

    @property
    def promql(self) -> str:
        function = "rate" if self.a_second else "increase"
        return _combined("sum", self.by, f"{function}({self.of.promql}[{span(self.window_seconds)}])")

    def values(self, samples: Samples, now: float) -> Values:
        share = self.window_seconds if self.a_second else 1.0
        rises = _rises(samples, self.of, self.window_seconds, self.by, now)
        return {key: rise / share for key, rise in rises.items()}


@dataclass(frozen=True, kw_only=True)
class Ratio:
    part: Selection
    whole: Selection
    window_seconds: float
    by: tuple[str, ...] = ()

    @property
    def selections(self) -> tuple[Selection, ...]:
        return (self.part, self.whole)

    @property
    def promql(self) -> str:
        window = span(self.window_seconds)
        return " / ".join(_combined("sum", self.by, f"increase({each.promql}[{window}])") for each in self.selections)

    def values(self, samples: Samples, now: float) -> Values:
        part, whole = (_rises(samples, each, self.window_seconds, self.by, now) for each in self.selections)
        return _paired(part, whole, divided)


@dataclass(frozen=True, kw_only=True)
class Quantile:
    q: float
    of: Selection  # the histogram, without _bucket
    window_seconds: float
    by: tuple[str, ...] = ()

    @property
    def selections(self) -> tuple[Selection, ...]:
        return (self.of.named("_bucket"),)

    @property
    def promql(self) -> str:
        rate = f"rate({self.selections[0].promql}[{span(self.window_seconds)}])"
        return f"histogram_quantile({self.q:g}, {_combined('sum', (*self.by, 'le'), rate)})"

    def values(self, samples: Samples, now: float) -> Values:
        rises = _rises(samples, self.selections[0], self.window_seconds, (*self.by, "le"), now)
        histograms: dict[Key, dict[float, float]] = defaultdict(dict)
        for (*key, bound), rise in rises.items():
            histograms[tuple(key)][float(bound)] = rise
        return _numbers({key: quantile(self.q, buckets) for key, buckets in histograms.items()})


@dataclass(frozen=True, kw_only=True)
class Changes:
    of: Selection
    window_seconds: float
    by: tuple[str, ...] = ()

    @property
    def selections(self) -> tuple[Selection, ...]:
        return (self.of,)

    @property
    def promql(self) -> str:
        return _combined("max", self.by, f"changes({self.of.promql}[{span(self.window_seconds)}])")

    def values(self, samples: Samples, now: float) -> Values:
        seen = samples.points(self.of, now - self.window_seconds, now)
        counts = ((labels, count) for labels, points in seen if (count := changes(points)) is not None)
        return _grouped(counts, self.by, "max")


@dataclass(frozen=True, kw_only=True)
class Absent:
    of: Selection
    by: tuple[str, ...] = ()
    window_seconds: float = 0.0

    @property
    def selections(self) -> tuple[Selection, ...]:
        return (self.of,)

    @property
    def promql(self) -> str:
        """`absent` alone would give its one series labels of its own making."""
        return f"max(absent({self.of.promql}))"

    def values(self, samples: Samples, now: float) -> Values:
        return {} if any(True for _ in samples.current(self.of)) else {(): 1.0}


def span(seconds: float) -> str:
    """A length of time as PromQL and people write it: 90 s, 5 m."""
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def _combined(function: str, by: Sequence[str], promql: str) -> str:
    return f"{function} by ({', '.join(by)}) ({promql})" if by else f"{function}({promql})"


def _rises(samples: Samples, of: Selection, window: float, by: Sequence[str], now: float) -> Values:
    rises = (
        (labels, rise)
        for labels, points in samples.points(of, now - window, now)
        if (rise := increase(points, now - window, now)) is not None
    )
    return _grouped(rises, by, "sum")


def _grouped(values: Iterable[tuple[Labels, float]], by: Sequence[str], combine: str) -> Values:
    groups: dict[Key, list[float]] = defaultdict(list)
    for labels, value in values:
        groups[tuple(labels.get(label, "") for label in by)].append(value)
    combined = COMBINATIONS[combine]
    return {key: combined(group) for key, group in groups.items()}


def _paired(left: Values, right: Values, operation: Callable[[float, float], float]) -> Values:
    return _numbers({key: operation(value, right[key]) for key, value in left.items() if key in right})


def _numbers(values: Values) -> Values:
    """NaN is no number: it would pass no threshold, and a page has nothing to show for it."""
    return {key: value for key, value in values.items() if not math.isnan(value)}

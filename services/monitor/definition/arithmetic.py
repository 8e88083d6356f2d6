"""Prometheus' own arithmetic on samples, so that a rule says the same here and there.

Sources: extrapolatedRate, funcChanges and bucketQuantile of Prometheus' promql/functions.go and promql/quantile.go.
Windows are open at their start, as they are since Prometheus 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from services.monitor.definition.selection import Point

# A gap to the window's edge of over 1.1 of the usual distance means that the series began or ended inside.
_STILL_THE_SAME_GAP = 1.1


def increase(points: Sequence[Point], start: float, end: float) -> float | None:
    """What a counter rose by in the window, resets added up, extrapolated to its edges; None of under two samples."""
    if len(points) < 2:
        return None
    (first_time, first), (last_time, last) = points[0], points[-1]
    resets = sum(before for (_, before), (_, after) in pairwise(points) if after < before)
    rise, sampled = last - first + resets, last_time - first_time
    usual = sampled / (len(points) - 1)
    to_start, to_end = first_time - start, end - last_time
    if to_start >= usual * _STILL_THE_SAME_GAP:
        to_start = usual / 2
    if rise > 0 and first >= 0:  # a counter cannot have been below zero
        to_start = min(to_start, sampled * first / rise)
    if to_end >= usual * _STILL_THE_SAME_GAP:
        to_end = usual / 2
    return rise * (sampled + to_start + to_end) / sampled


def changes(points: Sequence[Point]) -> float | None:
    """How often a value became another one; None without a sample."""
    if not points:
        return None
    return float(sum(before != after for (_, before), (_, after) in pairwise(points)))


def divided(numerator: float, denominator: float) -> float:
    """As floating-point division has it: nothing by nothing is not a number, which passes no threshold."""
    if denominator == 0:
        return math.nan if numerator == 0 or math.isnan(numerator) else math.copysign(math.inf, numerator)
    return numerator / denominator


def quantile(q: float, buckets: Mapping[float, float]) -> float:
    """Of a histogram given as upper bound and cumulative count; linear inside a bucket. NaN where nothing was seen."""
    bounds = sorted(buckets)
    if len(bounds) < 2 or bounds[-1] != math.inf:
        return math.nan
    counts = _rising([buckets[bound] for bound in bounds])
    if counts[-1] == 0:
        return math.nan
    rank = q * counts[-1]
    at = next((n for n, count in enumerate(counts[:-1]) if count >= rank), len(bounds) - 1)
    if at == len(bounds) - 1:  # above the last bound nothing is known
        return bounds[-2]
    if at == 0 and bounds[0] <= 0:
        return bounds[0]
    low, below = (bounds[at - 1], counts[at - 1]) if at else (0.0, 0.0)
    return low + (bounds[at] - low) * (rank - below) / (counts[at] - below)


def _rising(counts: Sequence[float]) -> list[float]:
    """Extrapolation of each bucket on its own may leave a cumulative count below the one before it."""
    highest, rising = 0.0, []
    for count in counts:
        highest = max(highest, count)
        rising.append(highest)
    return rising

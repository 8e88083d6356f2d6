"""Counters and histograms as Prometheus computes them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.definition.arithmetic import changes, divided, increase, quantile


def test_a_steady_counter_rises_by_its_rate_times_the_window():
    points = [(t, 100 + 3.0 * t) for t in range(2, 60, 2)]
    assert increase(points, 0, 60) == pytest.approx(180)


def test_a_series_that_began_inside_the_window_is_not_extended_to_its_start():
    points = [(50.0, 10.0), (52.0, 12.0), (54.0, 14.0), (56.0, 16.0), (58.0, 18.0)]
    assert increase(points, 0, 60) == pytest.approx(8 * (8 + 1 + 2) / 8)  # half a step before, two seconds after


def test_a_counter_is_not_extended_to_below_zero():
    points = [(2.0, 0.0), (4.0, 10.0)]
    assert increase(points, 0, 4) == pytest.approx(10)


def test_a_restart_counts_what_was_there_before_and_after():
    points = [(2.0, 100.0), (4.0, 104.0), (6.0, 1.0), (8.0, 5.0)]
    assert increase(points, 1, 9) == pytest.approx((4 + 1 + 4) * 8 / 6)


def test_one_sample_is_no_rise():
    assert increase([(1.0, 5.0)], 0, 60) is None
    assert increase([], 0, 60) is None


@given(st.lists(st.integers(0, 50), min_size=2, max_size=40))
def test_a_rise_is_never_negative_and_never_less_than_what_was_seen(steps):
    points, total = [], 0
    for n, step in enumerate(steps):
        total += step
        points.append((2.0 * n + 1, float(total)))
    found = increase(points, 0, 2.0 * len(steps))
    assert found is not None
    assert found >= (total - steps[0]) * 0.999999


def test_changes_counts_other_values_and_not_samples():
    assert changes([(1, 5.0), (2, 5.0), (3, 7.0), (4, 5.0)]) == 2
    assert changes([]) is None


@pytest.mark.parametrize(
    ("q", "wanted"),
    [(0.5, 0.15), (0.9, 0.35), (1.0, 0.4), (0.25, 0.1), (0.05, 0.02)],
)
def test_a_quantile_lies_inside_its_bucket_in_proportion(q, wanted):
    buckets = {0.1: 25.0, 0.2: 75.0, 0.3: 80.0, 0.4: 100.0, math.inf: 100.0}
    assert quantile(q, buckets) == pytest.approx(wanted)


def test_above_the_last_bound_a_quantile_is_that_bound():
    assert quantile(0.99, {0.1: 1.0, 0.5: 2.0, math.inf: 100.0}) == 0.5


def test_nothing_seen_has_no_quantile():
    assert math.isnan(quantile(0.5, {0.1: 0.0, math.inf: 0.0}))
    assert math.isnan(quantile(0.5, {0.1: 3.0}))


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=12), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_higher_quantile_is_never_lower(counts, one, other):
    bounds = [0.1 * (n + 1) for n in range(len(counts) - 1)]
    running, buckets = 0.0, {}
    for bound, count in zip([*bounds, math.inf], counts, strict=True):
        running += count
        buckets[bound] = running
    low, high = quantile(min(one, other), buckets), quantile(max(one, other), buckets)
    assert math.isnan(low) or low <= high + 1e-9


def test_nothing_by_nothing_is_no_number():
    assert math.isnan(divided(0, 0))
    assert divided(1, 0) == math.inf
    assert divided(1, 4) == 0.25

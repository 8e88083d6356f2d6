"""Windows of series: what a quantity sees, and that nothing grows."""

from __future__ import annotations

import tracemalloc

import pytest

from services.monitor.definition.selection import Selection
from services.monitor.windows.windows import Sample, Target, WindowBounds, Windows

JOBS, DEPTH = Selection("jobs_total"), Selection("depth")
GUARD = Target("strongroom-guard", "127.0.0.1:7411")
OTHER = Target("strongroom-guard", "127.0.0.1:7511")
UP = Selection("up")


@pytest.fixture
def windows() -> Windows:
    return Windows([JOBS, DEPTH, UP], WindowBounds(seconds=60, series_per_target=10))


def counter(value: float, **labels: str) -> Sample:
    return Sample("jobs_total", tuple(sorted(labels.items())), value)


def depth(value: float) -> Sample:
    return Sample("depth", (), value)


def test_samples_carry_the_names_of_their_target(windows):
    windows.answered(GUARD, 10, [counter(1, kind="a")])
    [(labels, points)] = windows.points(JOBS, 0, 10)
    assert labels == {"kind": "a", "job": "strongroom-guard", "instance": "127.0.0.1:7411"}
    assert points == [(10, 1)]


def test_a_label_of_a_targets_own_cannot_take_its_place(windows):
    """Fails if the target's names were set first: any service could speak for any other."""
    windows.answered(GUARD, 10, [counter(1, job="strongroom-audit", instance="x")])
    [(labels, _)] = windows.points(JOBS, 0, 10)
    assert (labels["job"], labels["instance"]) == ("strongroom-guard", "127.0.0.1:7411")


def test_the_start_of_a_window_is_outside_and_its_end_inside(windows):
    for at in (10, 12, 14):
        windows.answered(GUARD, at, [depth(at)])
    [(_, points)] = windows.points(DEPTH, 10, 14)
    assert [at for at, _ in points] == [12, 14]


def test_what_a_target_shows_no_more_is_not_current(windows):
    windows.answered(GUARD, 10, [depth(1), counter(1, kind="a")])
    windows.answered(GUARD, 12, [depth(2)])
    assert [value for _, value in windows.current(DEPTH)] == [2]
    assert list(windows.current(JOBS)) == []


def test_a_target_that_does_not_answer_has_no_current_values_but_is_known_to_be_down(windows):
    windows.answered(GUARD, 10, [depth(1)])
    windows.answered(OTHER, 10, [depth(5)])
    windows.failed(GUARD, 12)
    windows.answered(OTHER, 12, [depth(6)])
    assert [value for _, value in windows.current(DEPTH)] == [6]
    assert {labels["instance"]: value for labels, value in windows.current(UP)} == {
        GUARD.instance: 0,
        OTHER.instance: 1,
    }
    assert (windows.is_up(GUARD), windows.last_ok(GUARD)) == (False, 10)


def test_the_first_event_of_a_kind_is_a_rise_where_the_target_was_seen_before(windows):
    windows.answered(GUARD, 10, [counter(3, kind="a")])
    windows.answered(GUARD, 12, [counter(3, kind="a"), counter(1, kind="new")])
    found = {labels["kind"]: points for labels, points in windows.points(JOBS, 0, 12)}
    assert found == {"a": [(10, 3), (12, 3)], "new": [(10, 0), (12, 1)]}


def test_a_gauge_that_appears_is_not_taken_to_have_been_zero(windows):
    windows.answered(GUARD, 10, [])
    windows.answered(GUARD, 12, [depth(5)])
    [(_, points)] = windows.points(DEPTH, 0, 12)
    assert points == [(12, 5)]


def test_a_target_with_too_many_series_is_not_taken_at_all(windows):
    windows.answered(GUARD, 10, [depth(1)])
    assert not windows.answered(GUARD, 12, [counter(n, kind=str(n)) for n in range(20)])
    assert not windows.is_up(GUARD)
    assert len(windows) == 2  # depth and up
    assert windows.answered(GUARD, 14, [depth(2)])


def test_all_targets_together_have_a_bound_too_and_those_that_are_there_stay():
    windows = Windows([JOBS], WindowBounds(seconds=60, series_per_target=10, series=25))
    taken = []
    for port in range(5):
        target = Target("strongroom-guard", f"127.0.0.1:{port}")
        taken.append(windows.answered(target, 10, [counter(1, kind=str(n)) for n in range(9)]))
    assert taken == [True, True, False, False, False]
    assert windows.answered(Target("strongroom-guard", "127.0.0.1:0"), 12, [counter(2, kind="0")])


def test_series_that_come_and_go_count_until_they_are_forgotten(windows):
    for at in range(8):
        assert windows.answered(GUARD, at, [counter(1, kind=f"k{at}")])
    assert not windows.answered(GUARD, 9, [counter(1, kind=f"l{n}") for n in range(3)])
    assert windows.answered(GUARD, 90, [counter(1, kind=f"l{n}") for n in range(3)])
    assert len(windows) == 4


def test_invariant_6_memory_stays_where_it_is_however_long_it_runs():
    """Fails if `forget` never trims."""
    windows = Windows([DEPTH, JOBS], WindowBounds(seconds=60, series_per_target=200))

    def run(start: int, rounds: int) -> None:
        for n in range(start, start + rounds):
            windows.answered(GUARD, 2.0 * n, [depth(n), *(counter(n, kind=str(k)) for k in range(20))])

    run(0, 200)
    tracemalloc.start()
    run(200, 2_000)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 100_000  # two thousand rounds of 22 series would be 700 kB of samples
    [(_, points)] = windows.points(DEPTH, 0, 1e9)
    assert len(points) < 100


def test_a_target_that_stays_down_is_bounded_too():
    windows = Windows([UP], WindowBounds(seconds=60))
    for n in range(1_000):
        windows.failed(GUARD, 2.0 * n)
    [(_, points)] = windows.points(UP, 0, 1e9)
    assert len(points) < 100


def test_a_clock_that_was_set_back_begins_anew(windows):
    windows.answered(GUARD, 1000, [depth(1)])
    windows.answered(GUARD, 500, [depth(2)])
    [(_, points)] = windows.points(DEPTH, 0, 2000)
    assert points == [(500, 2)]

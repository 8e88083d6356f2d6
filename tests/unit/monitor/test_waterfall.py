"""Rows and axis of a waterfall."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.traces.span import Span
from services.monitor.traces.store import Trace
from services.monitor.traces.waterfall import rows, ticks


def trace_of(*spans):
    return Trace("7", sorted(spans, key=lambda span: (span.start_ns, -span.end_ns)), complete=True)


def test_children_stand_under_their_parent_by_start(make_span):
    trace = trace_of(
        make_span("root", at=0, ms=100),
        make_span("second", "root", at=50, ms=10),
        make_span("first", "root", at=10, ms=30),
        make_span("inner", "first", at=20, ms=10),
    )
    assert [(row.span.name, row.depth) for row in rows(trace)] == [
        ("root", 0),
        ("first", 1),
        ("inner", 2),
        ("second", 1),
    ]
    assert (rows(trace)[1].left, rows(trace)[1].width) == (0.1, 0.3)
    assert rows(trace)[1].duration_ms == 30


def test_a_span_whose_parent_is_missing_says_so(make_span):
    trace = trace_of(make_span("root"), make_span("lost", "elsewhere"), make_span("own", "own"))
    assert {row.span.name: row.parent_missing for row in rows(trace)} == {"root": False, "lost": True, "own": True}


def test_an_instant_has_rows_too(make_span):
    [row] = rows(trace_of(make_span("root", ms=0)))
    assert (row.left, row.width) == (0, 0)


@given(parents=st.lists(st.integers(-1, 11), min_size=1, max_size=12), starts=st.lists(st.integers(0, 99), min_size=12))
def test_every_span_has_exactly_one_row_within_the_axis_whatever_its_parent_claims(parents, starts):
    spans = [
        Span("7", str(n), "" if parent < 0 else str(parent), str(n), "guard", 1, starts[n], starts[n] + n, {})
        for n, parent in enumerate(parents)
    ]
    placed = rows(trace_of(*spans))
    assert sorted(row.span.name for row in placed) == sorted(span.name for span in spans)
    assert all(0 <= row.left <= 1 and 0 <= row.width <= 1 and row.left + row.width < 1 + 1e-9 for row in placed)


@pytest.mark.parametrize(
    ("duration", "marks"),
    [
        (842, [0, 200, 400, 600, 800]),
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, [0]),
        (10_000, [0, 2000, 4000, 6000, 8000, 10_000]),
    ],
)
def test_marks_of_the_axis_are_round(duration, marks):
    assert ticks(duration) == pytest.approx(marks)


@given(st.floats(1e-6, 1.8e13))
def test_there_are_between_one_and_six_marks_within_the_duration(duration):
    marks = ticks(duration)
    assert 2 <= len(marks) <= 6
    assert marks[0] == 0 and marks[-1] <= duration * (1 + 1e-9)

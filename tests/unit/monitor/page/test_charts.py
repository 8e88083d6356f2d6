"""Lines of the history as columns and as a drawing."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.definition.loading import shipped
from services.monitor.page import panels
from services.monitor.page.charts import HEIGHT, WIDTH, columns, drawing, last_known, latest
from services.monitor.status.snapshot import History, Series


def history(times, **series):
    return History(times=times, series={name: Series(values=values) for name, values in series.items()})


def test_columns_are_the_times_and_a_column_for_each_line_known_or_not():
    lines = history([10, 12, 14], request_p50=[0.1, None, 0.123456], request_p95=[1, 2, 3])
    assert columns(panels.LATENCY, lines) == [[10, 12, 14], [0.1, None, 0.1235], [1, 2, 3], [None, None, None]]


def test_only_what_came_after_is_given():
    lines = history([10, 12, 14], error_ratio=[0, 0.5, 1])
    assert columns(panels.ERRORS, lines, after=12) == [[14], [1]]
    assert columns(panels.ERRORS, lines, after=14) == [[], []]


def test_what_is_no_number_is_not_known():
    assert columns(panels.ERRORS, history([1, 2], error_ratio=[math.inf, math.nan]))[1] == [None, None]


def test_a_line_says_what_is_so_now_and_what_was_last_known():
    lines = history([10, 12, 14], error_ratio=[0.25, 0.5, None])
    assert (latest("error_ratio", lines), last_known("error_ratio", lines)) == (None, 0.5)
    assert latest("nothing", lines) is last_known("nothing", lines) is None
    assert latest("error_ratio", History()) is None


def test_a_drawing_lifts_its_pen_where_nothing_was_known():
    lines = history([100, 102, 104, 106], useful_token_ratio=[1, 0.5, None, 0])
    path, other = drawing(panels.EFFICIENCY, lines, [0.6]).paths
    assert path.count("M") == 2 and path.count("L") == 1
    assert path.endswith(f"M{float(WIDTH)} {float(HEIGHT)}")
    assert other == ""


def test_a_threshold_is_drawn_where_the_scale_reaches_it():
    assert drawing(panels.EFFICIENCY, history([1], useful_token_ratio=[0.5]), [0.6, 0.8]).marks == [40.0, 20.0]
    assert drawing(panels.ERRORS, history([1], error_ratio=[0.01]), [0.05]).marks == []


@pytest.mark.parametrize("panel", panels.PANELS, ids=lambda panel: panel.id)
def test_without_a_history_nothing_is_drawn(panel):
    assert drawing(panel, History(), [0.5]).paths == []


def test_thresholds_are_those_of_the_rules_on_the_same_figures():
    marks = {panel.id: list(panels.thresholds(panel, shipped())) for panel in panels.PANELS}
    assert marks["batch_efficiency"] == [0.6, 0.8]
    assert marks["first_token"] == [0.5, 1.0]
    assert marks["error_rate"] == [0.05, 0.2]


def test_every_line_is_a_figure_of_the_definition():
    figures = {figure.id for figure in shipped().figures}
    assert {line.series.partition("/")[0] for panel in panels.PANELS for line in panel.lines} <= figures


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e12)), min_size=1, max_size=30))
def test_a_drawing_stays_inside_its_frame(values):
    lines = history([1000.0 + 2 * n for n in range(len(values))], request_p50=values)
    for path in drawing(panels.LATENCY, lines, []).paths:
        for point in path.split("L"):
            for x, y in (pair.split() for pair in point.split("M") if pair.strip()):
                assert 0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT

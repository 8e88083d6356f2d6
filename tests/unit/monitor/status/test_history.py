"""The history of figures: a value a round, bounded, with gaps where nothing was known."""

from __future__ import annotations

import tracemalloc

from services.monitor.status.history import FigureHistory, line_names


def test_a_line_has_a_value_for_every_round_and_none_where_it_was_not_known():
    history = FigureHistory(rounds=10)
    history.add(1, {"a": 1})
    history.add(2, {"a": 2, "b": 5})
    history.add(3, {"b": 6})
    read = history.read()
    assert read.times == [1, 2, 3]
    assert {name: line.values for name, line in read.series.items()} == {"a": [1, 2, None], "b": [None, 5, 6]}


def test_only_the_last_rounds_are_kept():
    history = FigureHistory(rounds=10)
    for n in range(100):
        history.add(n, {"a": n})
    read = history.read()
    assert read.times == list(range(90, 100))
    assert read.series["a"].values == list(range(90, 100))


def test_a_line_that_is_known_no_more_is_forgotten():
    history = FigureHistory(rounds=8)
    history.add(0, {"gone": 1, "a": 1})
    for n in range(1, 40):
        history.add(n, {"a": n})
    assert history.read().series.keys() == {"a"}


def test_invariant_6_names_that_never_end_are_bounded():
    """Fails if `add` begins a line for every name."""
    history = FigureHistory(rounds=100, lines=20)
    for n in range(500):
        history.add(n, {f"line-{n}": 1, "kept": n} if n else {"kept": 0})
    tracemalloc.start()
    for n in range(500, 2_500):
        history.add(n, {f"line-{n}": 1, "kept": n})
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(history.read().series) <= 20
    assert history.read().series["kept"].values[-1] == 2_499
    assert grown < 100_000


def test_a_clock_that_was_set_back_begins_anew():
    history = FigureHistory()
    history.add(100, {"a": 1})
    history.add(50, {"a": 2})
    read = history.read()
    assert (read.times, read.series["a"].values) == ([50], [2])


def test_lines_are_named_by_figure_and_labels():
    figures = {"requests": {(): 1.0}, "queue": {("batch",): 2.0}, "verdicts": {("ALLOW", "r"): 3.0}}
    assert line_names(figures) == {"requests": 1, "queue/batch": 2, "verdicts/ALLOW/r": 3}
